//! One object of a file as people read of it: extent, type, storage, and why it cannot be the samples.

use hdf5::datatype::ByteOrder;
use hdf5::plist::DatasetCreate;
use hdf5::plist::dataset_create::Layout;
use hdf5::types::TypeDescriptor;
use hdf5::{Dataset, Datatype};

use super::filters;
use super::stored::StoredType;

const TABLE: &str = "it is a table (a compound type)";

/// What an object is to somebody who looks for samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// A two-dimensional dataset of real numbers.
    Candidate,
    /// A two-dimensional dataset of booleans, which often lies beside the samples.
    Mask,
    /// A dataset of real numbers in more dimensions.
    Deep,
    /// It could have been the samples, and is not.
    Unfit,
    /// A vector or scalar with a usual name: somebody who names no dataset need not mean it.
    Vector,
}

/// An object that is, or could have been, the samples.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its full name, without the first slash.
    pub name: String,
    /// Its extent; empty where that is not known.
    pub shape: String,
    /// The type of its values, as `NumPy` names it.
    pub dtype: String,
    /// How its values are stored.
    pub storage: String,
    /// The filters that they go through.
    pub filters: String,
    /// Why it cannot be read as samples, in a sentence about "it".
    pub why_not: Option<String>,
    /// What to do about that, if more is known than to convert it.
    pub(super) help: Option<String>,
    pub(super) role: Role,
}

impl Entry {
    /// An object that is no readable dataset.
    pub(super) fn unfit(name: &str, why: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            shape: String::new(),
            dtype: String::new(),
            storage: String::new(),
            filters: String::new(),
            why_not: Some(why.into()),
            help: None,
            role: Role::Unfit,
        }
    }

    /// The same, with what to do.
    pub(super) fn with_help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }

    /// Why it cannot be read.
    pub(super) fn why(&self) -> &str {
        let otherwise = if self.role == Role::Mask { "it holds booleans" } else { "" };
        self.why_not.as_deref().unwrap_or(otherwise)
    }

    /// What to do about that.
    pub(super) fn help(&self) -> &str {
        self.help.as_deref().unwrap_or("convert it")
    }

    /// What to do to have its values as samples, if that is known.
    pub fn advice(&self) -> Option<String> {
        let help = self.help.as_ref()?;
        Some(if self.role == Role::Candidate {
            help.clone()
        } else {
            format!("to use \"{}\", {help}", self.name)
        })
    }

    /// Whether it is a vector of records.
    pub(super) fn is_table(&self) -> bool {
        self.why() == TABLE
    }

    /// A dataset; nothing if it is a vector or scalar that nobody takes for samples.
    pub(super) fn of(name: &str, dataset: &Dataset, is_usual: bool) -> Option<Self> {
        let plist = match dataset.dcpl() {
            Ok(plist) => plist,
            Err(error) => return Some(Self::unfit(name, format!("its layout cannot be read: {error}"))),
        };
        let Ok(dtype) = dataset.dtype() else {
            return Some(Self::unfit(name, "it holds a type that HDF5 here cannot read"));
        };
        let dtype_name = name_of(&dtype);
        // the shape of a virtual dataset may depend on other files, which HDF5 would open
        let shape = (plist.layout() != Layout::Virtual).then(|| dataset.shape());
        let (role, why_not) = match (shape.as_deref(), dtype.to_descriptor()) {
            (None, _) => (Role::Unfit, Some("it is virtual, a view of other files".into())),
            (_, Ok(TypeDescriptor::FixedArray(..))) => {
                (Role::Unfit, Some("its elements are arrays (an HDF5 array type, as PyTables writes)".into()))
            }
            (Some([_]), _) if dtype_name == "compound" => (Role::Unfit, Some(TABLE.into())),
            (Some([] | [_]), _) if is_usual => (Role::Vector, Some("it has no two dimensions".into())),
            (Some([] | [_]), _) => return None,
            (Some(shape), _) => match (StoredType::of(&dtype), shape.len()) {
                (Err(kind), _) => (Role::Unfit, Some(format!("it holds {kind}"))),
                (Ok(_), 2) if dtype_name == "bool" => (Role::Mask, None),
                (Ok(_), 2) => (Role::Candidate, None),
                (Ok(_), dimensions) => (
                    Role::Deep,
                    Some(format!(
                        "it has {dimensions} dimensions: use --flatten to take each leading index as a sample"
                    )),
                ),
            },
        };
        Some(Self {
            name: name.to_owned(),
            shape: shape.map(|shape| times(&shape)).unwrap_or_default(),
            dtype: dtype_name,
            storage: storage(&plist),
            filters: plist.filters().iter().map(filters::name).collect::<Vec<_>>().join(", "),
            why_not,
            help: None,
            role,
        })
    }
}

/// An extent: `6 x 4`.
pub(super) fn times(extent: &[usize]) -> String {
    let numbers: Vec<_> = extent.iter().map(ToString::to_string).collect();
    if numbers.is_empty() { "scalar".into() } else { numbers.join(" x ") }
}

fn storage(plist: &DatasetCreate) -> String {
    match (plist.layout(), plist.chunk()) {
        _ if !plist.external().is_empty() => "external".into(),
        (Layout::Chunked, Some(chunk)) => format!("chunks of {}", times(&chunk)),
        (layout, _) => format!("{layout:?}").to_lowercase(),
    }
}

/// The name that `NumPy` has for a type, or that of its HDF5 class.
fn name_of(dtype: &Datatype) -> String {
    use TypeDescriptor as Type;
    let size = dtype.size();
    let number = |word: &str, letter: char| {
        if size > 1 && dtype.byte_order() == ByteOrder::BigEndian {
            format!(">{letter}{size}")
        } else {
            format!("{word}{}", 8 * size)
        }
    };
    match dtype.to_descriptor() {
        Ok(Type::Integer(_)) => number("int", 'i'),
        Ok(Type::Unsigned(_)) => number("uint", 'u'),
        Ok(Type::Float(_)) => number("float", 'f'),
        Ok(Type::Boolean) => "bool".into(),
        Ok(Type::Enum(_)) => "enum".into(),
        Ok(Type::Compound(compound)) => match compound.fields.as_slice() {
            [re, im]
                if re.ty == im.ty
                    && matches!(re.ty, Type::Float(_))
                    && ["r", "re", "real"].contains(&re.name.as_str()) =>
            {
                number("complex", 'c')
            }
            _ => "compound".into(),
        },
        Ok(Type::FixedArray(..)) => "array".into(),
        Ok(Type::VarLenArray(_)) => "ragged".into(),
        Ok(Type::FixedAscii(_) | Type::FixedUnicode(_) | Type::VarLenAscii | Type::VarLenUnicode) => {
            "text".into()
        }
        Ok(Type::Reference(_)) => "reference".into(),
        // what the crate cannot describe, it names by class: `... <HDF5 id: H5T_FLOAT size: 16>)`
        Err(_) => match dtype.to_string().split("H5T_").nth(1).and_then(|rest| rest.split(' ').next()) {
            Some("FLOAT") => number("float", 'f'),
            Some("INTEGER") => number("int", 'i'),
            Some(class) => class.to_lowercase(),
            None => "unknown".into(),
        },
    }
}
