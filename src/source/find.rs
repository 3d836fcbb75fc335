//! Which dataset of a file holds the samples. Links are followed so that no other file is opened.

use std::cell::OnceCell;
use std::path::Path;

use hdf5::plist::dataset_create::Layout;
use hdf5::types::{TypeDescriptor, VarLenUnicode};
use hdf5::{Dataset, File, Group, LinkType, MinorErrorCode};

use super::View;
use super::stored::StoredType;
use crate::error::Result;
use crate::fail;
use crate::host;

/// Names under which people store samples. If such a one cannot be read, another dataset is not what is meant.
const USUAL: [&str; 4] = ["X", "data", "samples", "features"];

/// Names in a message.
const NAMED: usize = 10;

/// An object that could have been the samples, and why it is not.
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// Its full name, without the first slash.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
    /// It is no matrix at all: somebody who names no dataset need not mean it.
    is_vector: bool,
}

/// What the groups of a file hold, links into other places not followed.
#[derive(Default)]
struct Contents {
    /// Full names of the two-dimensional numeric datasets, sorted.
    matrices: Vec<String>,
    passed_over: Vec<PassedOver>,
    /// Somewhere is a link into another file.
    leads_out: bool,
}

/// A file, and what is known of its groups.
pub(super) struct Finder<'a> {
    file: &'a File,
    path: &'a Path,
    contents: OnceCell<Contents>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path) -> Self {
        Self { file, path, contents: OnceCell::new() }
    }

    /// The dataset of that name.
    pub(super) fn named(&self, name: &str) -> Result<Dataset> {
        let shown = self.path.display();
        let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let Some((last, parents)) = parts.split_last() else {
            fail!("\"{name}\" in {shown} is no dataset; {}", self.candidates());
        };
        let mut group: Group = (**self.file).clone();
        for part in parents {
            group = match self.follow(&group, part, name, Group::group)? {
                Some(next) => next,
                None => fail!("{shown} has no dataset \"{name}\"; {}", self.candidates()),
            };
        }
        if let Some(dataset) = self.follow(&group, last, name, Group::dataset)? {
            return Ok(dataset);
        }
        if let Some(group) = self.follow(&group, last, name, Group::group)? {
            if let Some(encoding) = sparse(&group) {
                fail!(
                    "\"{name}\" in {shown} is {encoding}; write it as a dense dataset; {}",
                    self.candidates()
                );
            }
            fail!("\"{name}\" in {shown} is a group, not a dataset; {}", self.candidates());
        }
        fail!(
            "{shown} has no dataset \"{name}\" that can be opened, or it is a link that leads nowhere; {}",
            self.candidates()
        )
    }

    /// What a link in a group leads to, if it is of the kind that `open` opens. Another file is never opened: opening a FIFO
    /// would wait for ever.
    fn follow<O>(
        &self,
        group: &Group,
        link: &str,
        name: &str,
        open: impl FnOnce(&Group, &str) -> hdf5::Result<O>,
    ) -> Result<Option<O>> {
        let outside = || {
            let shown = self.path.display();
            fail!("\"{name}\" in {shown} is a link into another file; name that file and dataset instead")
        };
        match links(group).find(|(other, _)| other == link).map(|(_, link)| link) {
            None => Ok(None),
            Some(LinkType::External) => outside(),
            Some(LinkType::Hard) => Ok(open(group, link).ok()),
            Some(LinkType::Soft) => match self.soft(|| open(group, link))? {
                Ok(object) => Ok(Some(object)),
                Err(error) if error.contains_minor(MinorErrorCode::CantOpenFile) => outside(),
                Err(_) => Ok(None),
            },
        }
    }

    /// Opens what a soft link leads to. HDF5 goes the way by itself, and through a link into another file if one is on it. All
    /// links that it can meet lie in groups of this file, so without such a one there is no danger; else the system is told
    /// to open no file meanwhile.
    fn soft<O>(&self, open: impl FnOnce() -> hdf5::Result<O>) -> Result<hdf5::Result<O>> {
        if self.contents().leads_out { host::opening_no_file(open) } else { Ok(open()) }
    }

    /// The only two-dimensional numeric dataset, and what was passed over.
    pub(super) fn only(&self, _: View) -> Result<(String, Vec<PassedOver>)> {
        let shown = self.path.display();
        let Contents { matrices, passed_over, .. } = self.contents();
        if let [only] = matrices.as_slice() {
            let is_meant = |other: &&PassedOver| !other.is_vector && is_meant_before(&other.name, only);
            if let Some(meant) = passed_over.iter().find(is_meant) {
                fail!(
                    "{shown}: \"{}\" seems to hold the samples, but {}; convert it, or choose another dataset with --dataset: {only}",
                    meant.name,
                    meant.why
                );
            }
            return Ok((only.clone(), passed_over.clone()));
        }
        if matrices.is_empty() {
            let others =
                listed(passed_over.iter().map(|other| format!("\"{}\": {}", other.name, other.why)), "; ");
            let others = if others.is_empty() { others } else { format!(" ({others})") };
            fail!(
                "{shown} has no two-dimensional numeric dataset{others}; write the samples as one, a sample per row (to see why a dataset cannot be used, name it with --dataset)"
            );
        }
        fail!(
            "{shown} has {} two-dimensional numeric datasets; choose one with --dataset: {}",
            matrices.len(),
            listed(matrices.iter().cloned(), ", ")
        )
    }

    fn candidates(&self) -> String {
        let found = &self.contents().matrices;
        if found.is_empty() {
            "it has no two-dimensional numeric dataset".into()
        } else {
            format!("its two-dimensional numeric datasets: {}", listed(found.iter().cloned(), ", "))
        }
    }

    fn contents(&self) -> &Contents {
        self.contents.get_or_init(|| {
            let (mut contents, soft) = walk(self.file);
            // a soft link may lead to a matrix under a name of its own; only the usual names are worth the way
            let leads_out = contents.leads_out;
            for (name, group, link) in soft {
                let open = || group.dataset(&link);
                let opened = if leads_out { host::opening_no_file(open) } else { Ok(open()) };
                let why = match opened {
                    Ok(Ok(dataset)) => what_is_wrong(&dataset),
                    _ => Some("it is a link that leads nowhere in this file".into()),
                };
                contents.passed_over.extend(why.map(|why| PassedOver { name, why, is_vector: false }));
            }
            contents.matrices.sort();
            contents.passed_over.sort_by(|one, other| one.name.cmp(&other.name));
            contents
        })
    }
}

/// Goes through all groups. Beside the contents, the soft links with a usual name: full name, group, name there.
fn walk(file: &File) -> (Contents, Vec<(String, Group, String)>) {
    let (mut contents, mut soft) = (Contents::default(), Vec::new());
    let mut seen = Vec::new();
    let mut groups: Vec<(String, Group)> = vec![(String::new(), (**file).clone())];
    while let Some((prefix, group)) = groups.pop() {
        for (link, kind) in links(&group) {
            let name = format!("{prefix}{link}");
            let mut pass = |why: &str| {
                let passed = PassedOver { name: name.clone(), why: why.into(), is_vector: false };
                contents.passed_over.push(passed);
            };
            match kind {
                LinkType::External => {
                    if is_usual(&name) {
                        pass("it is a link into another file");
                    }
                    contents.leads_out = true;
                }
                LinkType::Soft => {
                    if is_usual(&name) {
                        soft.push((name, group.clone(), link));
                    }
                }
                LinkType::Hard => {
                    if let Ok(dataset) = group.dataset(&link) {
                        match what_is_wrong(&dataset) {
                            Some(why) => pass(&why),
                            None if dataset.ndim() == 2 => contents.matrices.push(name),
                            None if is_usual(&name) => {
                                let why = "it has no two dimensions".into();
                                contents.passed_over.push(PassedOver { name, why, is_vector: true });
                            }
                            None => {}
                        }
                    } else if let Ok(child) = group.group(&link) {
                        if let Some(encoding) = sparse(&child) {
                            pass(&format!("it is {encoding}"));
                            continue;
                        }
                        // hard links can make a circle
                        let token = child.loc_info().ok().map(|info| format!("{:?}", info.token));
                        if !seen.contains(&token) {
                            seen.push(token);
                            groups.push((format!("{name}/"), child));
                        }
                    } else if !matches!(group.loc_type_by_name(&link), Ok(hdf5::LocationType::NamedDatatype))
                    {
                        pass("HDF5 here cannot open it (was it written by a later version?)");
                    }
                }
            }
        }
    }
    (contents, soft)
}

/// Why a dataset that looks like samples cannot be them. Vectors and scalars do not look like samples.
fn what_is_wrong(dataset: &Dataset) -> Option<String> {
    // the shape of a virtual dataset may depend on other files, which HDF5 would open
    if dataset.layout() == Layout::Virtual {
        return Some("it is virtual, a view of other files".into());
    }
    let descriptor = dataset.dtype().and_then(|dtype| dtype.to_descriptor());
    if matches!(descriptor, Ok(TypeDescriptor::FixedArray(..))) {
        return Some("its elements are arrays (an HDF5 array type, as PyTables writes)".into());
    }
    match dataset.ndim() {
        0 | 1 => None,
        2 => match dataset.dtype().map(|dtype| StoredType::of(&dtype)) {
            // a mask beside the samples; who means it names it
            Ok(Ok(_)) if matches!(descriptor, Ok(TypeDescriptor::Boolean)) => {
                Some("it holds booleans".into())
            }
            Ok(Ok(_)) => None,
            Ok(Err(kind)) => Some(format!("it holds {kind}")),
            Err(_) => Some("it holds a type that HDF5 here cannot read".into()),
        },
        dimensions => Some(format!("it has {dimensions} dimensions")),
    }
}

/// What kind of sparse matrix a group is, as AnnData and 10x Genomics write them.
fn sparse(group: &Group) -> Option<String> {
    let encoding = group.attr("encoding-type").and_then(|attribute| attribute.read_scalar::<VarLenUnicode>());
    if let Ok(encoding) = encoding
        && matches!(encoding.as_str(), "csr_matrix" | "csc_matrix")
    {
        return Some(format!("a sparse matrix ({encoding})"));
    }
    let has = |name: &str| links(group).any(|(link, kind)| link == name && kind == LinkType::Hard);
    (has("data") && has("indices") && has("indptr")).then(|| "a sparse matrix (data, indices, indptr)".into())
}

fn is_usual(name: &str) -> bool {
    USUAL.contains(&name.rsplit('/').next().unwrap_or(name))
}

/// Whether somebody who names no dataset means this unreadable one rather than that matrix.
fn is_meant_before(unreadable: &str, matrix: &str) -> bool {
    let depth = |name: &str| name.matches('/').count();
    is_usual(unreadable) && !(is_usual(matrix) && depth(matrix) <= depth(unreadable))
}

/// The first names, and how many there are beside them.
fn listed(names: impl ExactSizeIterator<Item = String>, between: &str) -> String {
    let more = names.len().saturating_sub(NAMED);
    let mut shown: Vec<String> = names.take(NAMED).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(between)
}

fn links(group: &Group) -> impl Iterator<Item = (String, LinkType)> {
    let links = group.links(hdf5::IndexType::Name, hdf5::IterationOrder::Native).into_iter().flatten();
    links.map(|(name, info)| (name, info.link_type))
}
