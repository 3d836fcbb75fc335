//! What unpacks compressed samples: filters of HDF5, and those that a plugin brings.

use hdf5::Dataset;
use hdf5::filters::{Filter, H5Z_filter_t};

use crate::error::Result;
use crate::fail;

/// Filters that a plugin brings, by their number in the [registry of the HDF
/// Group](https://github.com/HDFGroup/hdf5_plugins/blob/master/docs/RegisteredFilterPlugins.md).
const PLUGINS: [(H5Z_filter_t, &str); 11] = [
    (307, "bzip2"),
    (32001, "Blosc"),
    (32004, "LZ4"),
    (32008, "bitshuffle"),
    (32013, "ZFP"),
    (32015, "Zstd"),
    (32017, "SZ"),
    (32018, "FCIDECOMP"),
    (32024, "SZ3"),
    (32026, "Blosc2"),
    (32028, "SPERR"),
];

/// The name of a filter, as h5py has it.
pub(super) fn name(filter: &Filter) -> String {
    let name = match filter {
        Filter::Deflate(_) => "gzip",
        Filter::Shuffle => "shuffle",
        Filter::Fletcher32 => "fletcher32",
        Filter::SZip(..) => "szip",
        Filter::NBit => "nbit",
        Filter::ScaleOffset(_) => "scaleoffset",
        Filter::LZF => "lzf",
        Filter::User(number, _) => {
            let known = PLUGINS.iter().find(|(other, _)| other == number);
            return known
                .map_or_else(|| format!("filter {number}"), |(_, name)| format!("{name} (filter {number})"));
        }
    };
    name.to_owned()
}

/// Filters that make another copy of a chunk: all but checksums, which look at it where it is.
pub(super) fn copying(filters: &[Filter]) -> usize {
    filters.iter().filter(|filter| !matches!(filter, Filter::Fletcher32)).count()
}

/// Refuses values that cannot be unpacked. HDF5 looks for plugins in `HDF5_PLUGIN_PATH`.
pub(super) fn check(dataset: &Dataset, what: &str) -> Result<()> {
    let filters = dataset.filters();
    let Some(missing) = filters.iter().find(|filter| !filter.is_available()) else { return Ok(()) };
    let name = name(missing);
    match std::env::var_os("HDF5_PLUGIN_PATH") {
        Some(path) => fail!(
            "{what} is compressed with {name}, for which HDF5 finds no plugin that it can load in HDF5_PLUGIN_PATH={}; install the plugin there, or write the samples again with gzip",
            path.display()
        ),
        None => fail!(
            "{what} is compressed with {name}, which is no part of HDF5; install its plugin, such as by `pip install hdf5plugin`, and name its folder: export HDF5_PLUGIN_PATH=$(python3 -c 'import hdf5plugin; print(hdf5plugin.PLUGIN_PATH)'); or write the samples again with gzip"
        ),
    }
}
