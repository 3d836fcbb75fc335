//! What a file holds: one walk through all its groups. Links into other places are not followed.

use std::collections::HashSet;
use std::path::Path;

use hdf5::{Dataset, File, Group, LinkType, LocationType};

use super::conventions::{Place, is_block};
use super::entry::{Entry, Role};
use super::recipes;
use crate::host;
use crate::io::{is_of_newer_hdf5, library_version};

/// Names under which people store samples. If such a one cannot be read, another dataset is not what is meant.
const USUAL: [&str; 4] = ["X", "data", "samples", "features"];

/// Whether the last part of a name is one under which people store samples.
pub(super) fn is_usual(name: &str) -> bool {
    USUAL.contains(&name.rsplit('/').next().unwrap_or(name))
}

/// What the groups of a file hold.
#[derive(Default)]
pub(super) struct Inventory {
    /// All that is, or could have been, the samples, by name.
    pub(super) entries: Vec<Entry>,
    /// Somewhere is a link into another file.
    pub(super) leads_out: bool,
}

/// The walk.
struct Walk<'a> {
    /// The file's name, for messages.
    path: String,
    /// Why a candidate cannot be read after all.
    check: &'a dyn Fn(&Dataset) -> Option<String>,
    inventory: Inventory,
    /// Groups to go to: full name, group that leads there, name in it, whether it has attributes.
    ahead: Vec<(String, Group, String, bool)>,
    /// Soft links with a usual name: full name, group, name in it.
    soft: Vec<(String, Group, String)>,
    /// Hard links can make a circle.
    seen: HashSet<String>,
    is_anndata: bool,
}

impl Inventory {
    /// Goes through all groups of a file. `check` says why a two-dimensional numeric dataset cannot be read, if that is of interest.
    pub(super) fn of(file: &File, path: &Path, check: &dyn Fn(&Dataset) -> Option<String>) -> Self {
        let root = Place::of(String::new(), (**file).clone());
        let mut walk = Walk {
            path: path.display().to_string(),
            check,
            inventory: Self::default(),
            ahead: Vec::new(),
            soft: Vec::new(),
            seen: root.group.loc_info().iter().map(|info| format!("{:?}", info.token)).collect(),
            is_anndata: root.has("obsm"),
        };
        walk.go_through(&root);
        while let Some((name, parent, link, has_attributes)) = walk.ahead.pop() {
            match parent.group(&link) {
                Ok(group) if has_attributes => walk.go_to(&Place::of(name, group)),
                Ok(group) => walk.go_to(&Place::plain(name, group)),
                Err(error) => walk.cannot_open(&name, &error),
            }
        }
        walk.follow_soft_links();
        let mut inventory = walk.inventory;
        inventory.entries.sort_by(|one, other| one.name.cmp(&other.name));
        inventory
    }
}

impl Walk<'_> {
    fn go_to(&mut self, place: &Place) {
        if let Some(sparse) = place.sparse(&self.path) {
            self.inventory.entries.push(sparse);
            return;
        }
        if place.name == "X" && self.is_anndata {
            self.inventory.entries.push(Entry::unfit("X", "it is a group, not a dataset"));
        }
        if !place.is_index() {
            self.go_through(place);
        }
    }

    fn go_through(&mut self, place: &Place) {
        for (link, kind) in &place.links {
            let name = place.inside(link);
            match kind {
                LinkType::External => {
                    if is_usual(&name) {
                        self.inventory.entries.push(Entry::unfit(&name, "it is a link into another file"));
                    }
                    self.inventory.leads_out = true;
                }
                LinkType::Soft => {
                    if is_usual(&name) {
                        self.soft.push((name, place.group.clone(), link.clone()));
                    }
                }
                LinkType::Hard => match place.group.loc_info_by_name(link) {
                    Ok(info) if info.loc_type == LocationType::Dataset => {
                        if !place.is_frame() || is_block(link) || link == "table" {
                            self.look_at(place, link, &name);
                        }
                    }
                    // the categories of a table of pandas
                    Ok(_) if place.is_frame() && link == "meta" => {}
                    Ok(info) if info.loc_type == LocationType::Group => {
                        if self.seen.insert(format!("{:?}", info.token)) {
                            self.ahead.push((name, place.group.clone(), link.clone(), info.num_attrs > 0));
                        }
                    }
                    Ok(_) => {}
                    // the crate replaces what is no UTF-8, so nothing has the name that it gives
                    Err(_) if link.contains(char::REPLACEMENT_CHARACTER) => {
                        let entry = Entry::unfit(&name, "its name is not UTF-8, and must be changed");
                        self.inventory
                            .entries
                            .push(entry.with_help(recipes::rename(&self.path, &place.name)));
                    }
                    Err(error) => self.cannot_open(&name, &error),
                },
            }
        }
    }

    fn look_at(&mut self, place: &Place, link: &str, name: &str) {
        let dataset = match place.group.dataset(link) {
            Ok(dataset) => dataset,
            Err(error) => return self.cannot_open(name, &error),
        };
        let mut entry = Entry::of(name, &dataset, is_usual(name));
        if entry.is_none() && place.is_frame() && is_block(link) {
            entry = Some(Entry::unfit(name, "it holds the columns of a pandas frame that are no numbers"));
        }
        let Some(mut entry) = entry else { return };
        if matches!(entry.role, Role::Candidate | Role::Mask) {
            entry.why_not = (self.check)(&dataset);
            entry.help = (place.is_frame() && place.blocks() > 1).then(|| place.help_for_blocks(&self.path));
        } else if entry.is_table() {
            entry.help = Some(place.help_for_table(&self.path, link));
        }
        self.inventory.entries.push(entry);
    }

    fn cannot_open(&mut self, name: &str, error: &hdf5::Error) {
        self.inventory.entries.push(closed(&self.path, name, error));
    }

    /// A soft link may lead to a matrix under a name of its own; only the usual names are worth the way.
    fn follow_soft_links(&mut self) {
        let leads_out = self.inventory.leads_out;
        for (name, group, link) in std::mem::take(&mut self.soft) {
            let entry = match without_leaving(leads_out, || group.dataset(&link)) {
                Some(dataset) => Entry::of(&name, &dataset, true)
                    .filter(|entry| !matches!(entry.role, Role::Candidate | Role::Mask)),
                None => match without_leaving(leads_out, || group.group(&link)) {
                    Some(group) => Place::of(name, group).sparse(&self.path),
                    None => Some(Entry::unfit(&name, "it is a link that leads nowhere in this file")),
                },
            };
            self.inventory.entries.extend(entry);
        }
    }
}

/// Opens what a soft link leads to, and no other file where one is on the way.
fn without_leaving<O>(leads_out: bool, open: impl FnOnce() -> hdf5::Result<O>) -> Option<O> {
    if leads_out { host::opening_no_file(open).ok()?.ok() } else { open().ok() }
}

/// An object that HDF5 does not open.
pub(super) fn closed(path: &str, name: &str, error: &hdf5::Error) -> Entry {
    if is_of_newer_hdf5(error) {
        let why = format!("it was written by a newer HDF5 than {}, or is damaged", library_version());
        return Entry::unfit(name, why).with_help(recipes::older(path, name));
    }
    Entry::unfit(name, format!("HDF5 cannot open it: {error}")).with_help("check it with h5dump -H")
}
