//! What other programs make of groups and tables: sparse matrices, frames of pandas, and the indexes of `PyTables`.

use hdf5::plist::dataset_create::Layout;
use hdf5::types::{FixedAscii, FixedUnicode, VarLenAscii, VarLenUnicode};
use hdf5::{Container, Dataset, Group, LinkType, Location};

use super::entry::{Entry, times};
use super::recipes;

/// A group, open, with what tells by whom it was written.
pub(super) struct Place {
    /// Its full name, without slashes around it.
    pub(super) name: String,
    pub(super) group: Group,
    pub(super) links: Vec<(String, LinkType)>,
    attributes: Vec<String>,
}

impl Place {
    pub(super) fn of(name: String, group: Group) -> Self {
        // asking for an attribute that is not there costs an error of HDF5, which is slow
        let attributes = group.attr_names().unwrap_or_default();
        Self { attributes, ..Self::plain(name, group) }
    }

    /// A group that has no attributes.
    pub(super) fn plain(name: String, group: Group) -> Self {
        let links = links(&group).collect();
        Self { name, group, links, attributes: Vec::new() }
    }

    /// The full name of what a link of this group leads to.
    pub(super) fn inside(&self, link: &str) -> String {
        if self.name.is_empty() { link.to_owned() } else { format!("{}/{link}", self.name) }
    }

    /// The text of an attribute.
    fn text(&self, name: &str) -> Option<String> {
        if self.has_attribute(name) { text(&self.group, name) } else { None }
    }

    fn has_attribute(&self, name: &str) -> bool {
        self.attributes.iter().any(|other| other == name)
    }

    pub(super) fn has(&self, link: &str) -> bool {
        self.links.iter().any(|(other, kind)| other == link && *kind == LinkType::Hard)
    }

    /// Whether `PyTables` keeps the sorted columns of a table here: numbers in two dimensions, and no samples.
    pub(super) fn is_index(&self) -> bool {
        self.name.rsplit('/').next().is_some_and(|last| last.starts_with("_i_"))
            && self.text("CLASS").is_some_and(|class| class == "TINDEX")
    }

    /// Whether pandas keeps a frame or series here.
    pub(super) fn is_frame(&self) -> bool {
        self.has_attribute("pandas_type")
    }

    /// Datasets that hold the columns of a frame in the fixed format, one for each type.
    pub(super) fn blocks(&self) -> usize {
        self.links.iter().filter(|(link, _)| is_block(link)).count()
    }

    /// The sparse matrix that the group is, as `AnnData` and 10x Genomics write them.
    pub(super) fn sparse(&self, path: &str) -> Option<Entry> {
        if !["data", "indices", "indptr"].iter().all(|part| self.has(part)) {
            return None;
        }
        let encoding = ["encoding-type", "h5sparse_format"].iter().find_map(|name| self.text(name));
        let attribute = ["shape", "h5sparse_shape"].into_iter().find(|name| self.has_attribute(name));
        let extent = match attribute {
            Some(name) => self.group.attr(name).ok().as_deref().and_then(pair),
            None if self.has("shape") => {
                self.group.dataset("shape").ok().filter(is_here).as_deref().and_then(pair)
            }
            None => None,
        };
        let extent = extent.map(|extent| times(&extent));
        let place = match attribute {
            Some(name) => Some(format!("g.attrs[{name:?}]")),
            None => self.has("shape").then(|| r#"g["shape"][()]"#.to_owned()),
        };
        // 10x Genomics stores genes x cells, by columns, and the cells are the samples
        let is_turned = self.has("barcodes");
        let by_columns = encoding.as_ref().map_or(is_turned, |kind| kind.starts_with("csc"));
        let class = if by_columns { "csc_matrix" } else { "csr_matrix" };
        let of = extent.as_ref().map(|extent| format!(" of {extent}")).unwrap_or_default();
        let kind = encoding.as_deref().unwrap_or("data, indices, indptr");
        let entry = Entry::unfit(&self.name, format!("it is a sparse matrix ({kind}){of}"));
        let entry = Entry { dtype: "sparse".into(), shape: extent.unwrap_or_default(), ..entry };
        Some(entry.with_help(recipes::dense(path, &self.name, class, place, is_turned)))
    }

    /// What to do with a table in this group.
    pub(super) fn help_for_table(&self, path: &str, link: &str) -> String {
        if self.is_frame() {
            recipes::frame(path, &self.name)
        } else {
            recipes::table(path, &self.inside(link))
        }
    }

    /// What to do with a frame that has columns of several types.
    pub(super) fn help_for_blocks(&self, path: &str) -> String {
        format!(
            "\"{}\" is a pandas frame, which stores the columns of each type apart; {}",
            self.name,
            recipes::frame(path, &self.name)
        )
    }
}

/// Whether a dataset of a frame holds columns. The others are its index.
pub(super) fn is_block(link: &str) -> bool {
    link.starts_with("block") && link.ends_with("_values")
}

/// Whether the values of a dataset lie in its own file: HDF5 would open any other.
fn is_here(dataset: &Dataset) -> bool {
    dataset.dcpl().is_ok_and(|plist| plist.layout() != Layout::Virtual && plist.external().is_empty())
}

/// Two numbers; a file may claim to have more of them than any memory.
fn pair(stored: &Container) -> Option<Vec<usize>> {
    if stored.shape() == [2] { stored.read_raw().ok() } else { None }
}

/// The links of a group.
pub(super) fn links(group: &Group) -> impl Iterator<Item = (String, LinkType)> {
    let links = group.links(hdf5::IndexType::Name, hdf5::IterationOrder::Native).into_iter().flatten();
    links.map(|(name, info)| (name, info.link_type))
}

/// The text of an attribute, in any of the types that text is stored in.
pub(super) fn text(location: &Location, name: &str) -> Option<String> {
    let attribute = location.attr(name).ok()?;
    let unicode = || attribute.read_scalar::<VarLenUnicode>().map(|text| text.as_str().to_owned());
    let ascii = || attribute.read_scalar::<VarLenAscii>().map(|text| text.as_str().to_owned());
    let fixed = || attribute.read_scalar::<FixedAscii<64>>().map(|text| text.as_str().to_owned());
    let fixed_unicode = || attribute.read_scalar::<FixedUnicode<64>>().map(|text| text.as_str().to_owned());
    unicode().or_else(|_| ascii()).or_else(|_| fixed()).or_else(|_| fixed_unicode()).ok()
}
