//! What the attributes of netCDF say about the values of a dataset: the conventions for packed and for missing data of the [NetCDF Users
//! Guide](https://docs.unidata.ucar.edu/nug/current/attribute_conventions.html).

use hdf5::Dataset;
use hdf5::plist::dataset_create::FillValue;
use hdf5::types::{FloatSize, IntSize, TypeDescriptor};

use super::conventions::text;
use super::stored::{Mark, StoredType, Values};
use crate::element::Dtype;
use crate::error::Result;
use crate::fail;

/// How real values follow from those that are stored: stored · scale + offset, in f64; and NaN in place of those that stand for missing
/// ones, or are not valid.
#[derive(Clone, Debug)]
pub(super) struct Packing {
    scale: Option<f64>,
    offset: Option<f64>,
    missing: Vec<Mark>,
    valid: [Option<Mark>; 2],
    is_unsigned: bool,
    dtype: Dtype,
}

impl Packing {
    /// What the attributes of a dataset of values of this type say, if they say anything.
    pub(super) fn of(dataset: &Dataset, stored: StoredType) -> Option<Self> {
        let [scale, offset] = [SCALE, OFFSET].map(|name| first(dataset, name));
        let is_unsigned = is_true(dataset, UNSIGNED);
        let (missing, valid) = (marks(dataset), valid(dataset));
        if [scale, offset] == [None; 2] && missing.is_empty() && valid == [None; 2] && !is_unsigned {
            return None;
        }
        let is_double = [SCALE, OFFSET].into_iter().any(|name| {
            let descriptor = dataset.attr(name).and_then(|attribute| attribute.dtype()?.to_descriptor());
            descriptor.is_ok_and(|descriptor| descriptor != TypeDescriptor::Float(FloatSize::U4))
        });
        let dtype = if is_double { Dtype::F64 } else { stored.dtype() };
        Some(Self { scale, offset, missing, valid, is_unsigned, dtype })
    }

    /// Type to compute in that loses nothing of the real values.
    pub(super) fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The real values.
    pub(super) fn unpacked(&self, values: &Values) -> Values {
        if self.is_unsigned
            && let Some((values, bits)) = values.unsigned()
        {
            let unsigned = |mark: Mark| mark.unsigned(bits);
            let missing: Vec<_> = self.missing.iter().copied().map(unsigned).collect();
            return self.of_stored(&values, &missing, self.valid.map(|mark| mark.map(unsigned)));
        }
        self.of_stored(values, &self.missing, self.valid)
    }

    fn of_stored(&self, values: &Values, missing: &[Mark], valid: [Option<Mark>; 2]) -> Values {
        let [low, high] = valid.map(|mark| mark.map(Mark::to_f64));
        values.mapped(missing, |value| {
            if low.is_some_and(|low| value < low) || high.is_some_and(|high| value > high) {
                return f64::NAN;
            }
            let value = self.scale.map_or(value, |scale| value * scale);
            self.offset.map_or(value, |offset| value + offset)
        })
    }
}

const SCALE: &str = "scale_factor";
const OFFSET: &str = "add_offset";
const UNSIGNED: &str = "_Unsigned";

/// Refuses attributes that cannot be followed.
pub(super) fn check(dataset: &Dataset, what: &str) -> Result<()> {
    for name in [SCALE, OFFSET] {
        if dataset.attr(name).is_ok() && numbers(dataset, name).len() != 1 {
            fail!(
                "{what} has an attribute {name} that is not one number, so its values cannot be decoded; leave --decode-netcdf out, or correct the attribute"
            );
        }
    }
    Ok(())
}

/// What a user should know who does not have the values decoded.
pub(super) fn notes(dataset: &Dataset, what: &str) -> Vec<String> {
    let (scale, offset) = (first(dataset, SCALE), first(dataset, OFFSET));
    let is_packed = scale.is_some_and(|scale| (scale - 1.0).abs() > 0.0)
        || offset.is_some_and(|offset| offset.abs() > 0.0);
    let packed = is_packed.then(|| {
        format!(
            "{what} holds packed values: its attributes say value * {} + {}, and the distances are those of the values as they are stored; to have those of the real values, use --decode-netcdf",
            scale.unwrap_or(1.0),
            offset.unwrap_or(0.0)
        )
    });
    let unsigned = is_true(dataset, UNSIGNED).then(|| {
        format!(
            "{what} holds numbers with a sign, which its attribute _Unsigned says are meant without one; the distances are those of the values as they are stored; to have those of the real values, use --decode-netcdf"
        )
    });
    packed.into_iter().chain(unsigned).collect()
}

/// The numbers of an attribute; none of one that is not there, or holds no numbers.
fn numbers(dataset: &Dataset, name: &str) -> Vec<Mark> {
    let Ok(attribute) = dataset.attr(name) else { return Vec::new() };
    let descriptor = attribute.dtype().and_then(|dtype| dtype.to_descriptor());
    let numbers = descriptor.and_then(|descriptor| match descriptor {
        TypeDescriptor::Integer(_) => Ok(attribute.read_raw::<i64>()?.into_iter().map(Mark::from).collect()),
        TypeDescriptor::Unsigned(_) => Ok(attribute.read_raw::<u64>()?.into_iter().map(Mark::from).collect()),
        TypeDescriptor::Float(_) => Ok(attribute.read_raw::<f64>()?.into_iter().map(Mark::Real).collect()),
        _ => Ok(Vec::new()),
    });
    numbers.unwrap_or_default()
}

/// The values that the conventions of netCDF call missing.
pub(super) fn marks(dataset: &Dataset) -> Vec<Mark> {
    let attributes = ["_FillValue", "missing_value"].into_iter().flat_map(|name| numbers(dataset, name));
    attributes.chain(own_fill_value(dataset)).collect()
}

/// The smallest and the largest value that the attributes call valid, as they are stored.
fn valid(dataset: &Dataset) -> [Option<Mark>; 2] {
    if let [low, high] = numbers(dataset, "valid_range")[..] {
        return [Some(low), Some(high)];
    }
    ["valid_min", "valid_max"].map(|name| numbers(dataset, name).first().copied())
}

/// The fill value that a dataset was given, as netCDF does for what is never written; 0 is what HDF5 itself takes, and bytes have no
/// value to spare.
fn own_fill_value(dataset: &Dataset) -> Option<Mark> {
    let plist = dataset.dcpl().ok()?;
    if plist.fill_value_defined() != FillValue::UserDefined {
        return None;
    }
    let mark = match dataset.dtype().ok()?.to_descriptor().ok()? {
        TypeDescriptor::Float(_) => Mark::Real(plist.get_fill_value_as::<f64>().ok()??),
        TypeDescriptor::Integer(size) if size != IntSize::U1 => {
            Mark::Whole(plist.get_fill_value_as::<i64>().ok()??.into())
        }
        TypeDescriptor::Unsigned(size) if size != IntSize::U1 => {
            Mark::Whole(plist.get_fill_value_as::<u64>().ok()??.into())
        }
        _ => return None,
    };
    (!matches!(mark, Mark::Whole(0)) && !matches!(mark, Mark::Real(value) if value == 0.0)).then_some(mark)
}

/// Whether an attribute says "true".
fn is_true(dataset: &Dataset, name: &str) -> bool {
    text(dataset, name).is_some_and(|text| text.eq_ignore_ascii_case("true"))
}

/// The first number of an attribute, if there is one.
fn first(dataset: &Dataset, name: &str) -> Option<f64> {
    numbers(dataset, name).first().map(|number| number.to_f64())
}
