//! Which dataset of a file holds the samples. Links are followed so that no other file is opened.

use std::cell::OnceCell;
use std::path::Path;

use hdf5::{Dataset, File, Group, LinkType, MinorErrorCode};

use super::conventions::{Place, links};
use super::entry::{Entry, Role};
use super::inventory::{Inventory, closed, is_usual};
use super::{Axes, View};
use crate::error::Result;
use crate::fail;
use crate::host;
use crate::io::open;
use crate::text::listed;

/// An object that could have been the samples, and why it is not.
#[derive(Clone, Debug)]
pub struct PassedOver {
    /// Its full name, without the first slash.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// What a file holds, for somebody who looks for samples.
pub struct Listing {
    /// All that is, or could have been, the samples, by name.
    pub entries: Vec<Entry>,
    /// The dataset that is taken if none is named, or why there is none.
    pub only: Result<String>,
}

/// Looks at all that a file holds.
///
/// # Errors
/// If it cannot be opened.
pub fn look_at(path: &Path) -> Result<Listing> {
    let file = open(path)?;
    let check =
        |dataset: &Dataset| super::check(dataset, View::default(), "it").err().map(|error| error.to_string());
    let inventory = Inventory::of(&file, path, &check);
    let finder = Finder { file: &file, path, view: View::default(), inventory: OnceCell::from(inventory) };
    let only = finder.only().map(|(name, _)| name);
    Ok(Listing { only, entries: finder.inventory.into_inner().map(|it| it.entries).unwrap_or_default() })
}

/// A file, and what is known of its groups.
pub(super) struct Finder<'a> {
    file: &'a File,
    path: &'a Path,
    view: View,
    inventory: OnceCell<Inventory>,
}

impl<'a> Finder<'a> {
    pub(super) fn new(file: &'a File, path: &'a Path, view: View) -> Self {
        Self { file, path, view, inventory: OnceCell::new() }
    }

    /// The dataset of that name.
    pub(super) fn named(&self, name: &str) -> Result<Dataset> {
        let shown = self.path.display();
        let parts: Vec<&str> = name.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
        let Some((last, parents)) = parts.split_last() else {
            fail!("\"{name}\" in {shown} is no dataset; {}", self.candidates());
        };
        let mut place = Place::of(String::new(), (**self.file).clone());
        for part in parents {
            place = match self.follow(&place.group, part, name, Group::group)? {
                Some(next) => Place::of(place.inside(part), next),
                None => fail!("{shown} has no dataset \"{name}\"; {}", self.candidates()),
            };
        }
        if let Some(dataset) = self.follow(&place.group, last, name, Group::dataset)? {
            if Entry::of(name, &dataset, false).is_some_and(|entry| entry.is_table()) {
                let help = place.help_for_table(&shown.to_string(), last);
                fail!("dataset \"{name}\" in {shown} is a table (a compound type); {help}");
            }
            return Ok(dataset);
        }
        if let Some(group) = self.follow(&place.group, last, name, Group::group)? {
            let Some(sparse) = Place::of(place.inside(last), group).sparse(&shown.to_string()) else {
                fail!("\"{name}\" in {shown} is a group, not a dataset; {}", self.candidates());
            };
            fail!("\"{name}\" in {shown}: {}; {}; {}", sparse.why(), self.candidates(), sparse.help());
        }
        if place.has(last)
            && let Err(error) = place.group.dataset(last)
        {
            let closed = closed(&shown.to_string(), &place.inside(last), &error);
            fail!("\"{name}\" in {shown}: {}; {}", closed.why(), closed.help());
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
        if self.inventory().leads_out { host::opening_no_file(open) } else { Ok(open()) }
    }

    /// The only two-dimensional numeric dataset, and what was passed over.
    pub(super) fn only(&self) -> Result<(String, Vec<PassedOver>)> {
        let shown = self.path.display();
        let found = self.matrices();
        let is_found = |entry: &&Entry| found.iter().any(|matrix| matrix.name == entry.name);
        let others = || self.inventory().entries.iter().filter(|entry| !is_found(entry));
        let is_meant = |other: &&Entry| {
            matches!(other.role, Role::Unfit | Role::Deep | Role::Mask)
                && found.iter().all(|matrix| is_meant_before(&other.name, &matrix.name))
        };
        if found.is_empty() {
            let reasons: Vec<_> = others().map(|it| format!("\"{}\": {}", it.name, it.why())).collect();
            let reasons = listed(reasons.into_iter(), "; ");
            let reasons = if reasons.is_empty() { reasons } else { format!(" ({reasons})") };
            // the first that can be helped is most likely what is meant
            let advice = others().find_map(Entry::advice).map(|advice| format!("; {advice}"));
            fail!(
                "{shown} has no two-dimensional numeric dataset{reasons}; write the samples as one, a sample per row (to see why a dataset cannot be used, name it with --dataset){}",
                advice.unwrap_or_default()
            );
        }
        if let Some(meant) = others().find(is_meant) {
            let choose = format!("choose another dataset with --dataset: {}", names(&found));
            let way_out = match &meant.help {
                Some(help) => format!("{choose}, or {help}"),
                // the reason says what to do
                None if meant.why().contains("--flatten") => format!("or {choose}"),
                None => format!("convert it, or {choose}"),
            };
            fail!("{shown}: \"{}\" seems to hold the samples, but {}; {way_out}", meant.name, meant.why());
        }
        if let [only] = found.as_slice() {
            let passed =
                others().map(|other| PassedOver { name: other.name.clone(), why: other.why().to_owned() });
            return Ok((only.name.clone(), passed.collect()));
        }
        let advice = found.iter().find_map(|matrix| matrix.advice()).map(|advice| format!("; {advice}"));
        fail!(
            "{shown} has {} two-dimensional numeric datasets; choose one with --dataset: {}{}",
            found.len(),
            names(&found),
            advice.unwrap_or_default()
        )
    }

    fn candidates(&self) -> String {
        let found = self.matrices();
        if found.is_empty() {
            "it has no two-dimensional numeric dataset".into()
        } else {
            format!("its two-dimensional numeric datasets: {}", names(&found))
        }
    }

    /// The two-dimensional numeric datasets, those first that people mean most. Where leading indices are samples, those of more
    /// dimensions if there are any; and masks only where there is nothing else.
    fn matrices(&self) -> Vec<&Entry> {
        let has_deep = self.inventory().entries.iter().any(|entry| entry.role == Role::Deep);
        if self.view.axes == Axes::Whole {
            // any of them can be
            let of = |roles: &[Role]| -> Vec<&Entry> {
                self.inventory().entries.iter().filter(|entry| roles.contains(&entry.role)).collect()
            };
            let found = of(&[Role::Candidate, Role::Deep]);
            return if found.is_empty() { of(&[Role::Mask]) } else { found };
        }
        let roles: &[_] = match self.view.axes {
            Axes::Leading => &[Role::Deep, Role::Candidate, Role::Mask],
            Axes::Rows | Axes::Columns | Axes::Whole if has_deep => &[Role::Candidate],
            Axes::Rows | Axes::Columns | Axes::Whole => &[Role::Candidate, Role::Mask],
        };
        let of = |role: &Role| self.inventory().entries.iter().filter(|entry| entry.role == *role).collect();
        let mut found: Vec<&Entry> =
            roles.iter().map(of).find(|found: &Vec<_>| !found.is_empty()).unwrap_or_default();
        // the cells of AnnData in few dimensions
        let rank = |name: &str| (!is_usual(name) || name.contains('/'), !name.starts_with("obsm/"));
        found.sort_by_key(|entry| rank(&entry.name));
        found
    }

    fn inventory(&self) -> &Inventory {
        self.inventory.get_or_init(|| Inventory::of(self.file, self.path, &|_| None))
    }
}

/// Whether somebody who names no dataset means this unreadable one rather than that matrix.
fn is_meant_before(unreadable: &str, matrix: &str) -> bool {
    let depth = |name: &str| name.matches('/').count();
    is_usual(unreadable) && !(is_usual(matrix) && depth(matrix) <= depth(unreadable))
}

fn names(entries: &[&Entry]) -> String {
    listed(entries.iter().map(|entry| entry.name.clone()), ", ")
}
