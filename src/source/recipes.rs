//! Lines of Python that make samples of what this program does not read. All of them write `samples.h5`, and replace no file.

use crate::host::command;

/// A sparse matrix, made dense: its class in SciPy, and where its extent is. `is_turned`: its columns are the samples.
pub(super) fn dense(path: &str, name: &str, class: &str, extent: Option<String>, is_turned: bool) -> String {
    let extent = extent.map(|extent| format!(", tuple({extent})")).unwrap_or_default();
    let turned = if is_turned { ".T" } else { "" };
    let line = format!(
        r#"import h5py, scipy.sparse as s; g = h5py.File({path:?})[{name:?}]; h5py.File("samples.h5", "x")["samples"] = s.{class}((g["data"][()], g["indices"][()], g["indptr"][()]){extent}){turned}.toarray()"#
    );
    format!("make it dense with: {}", python(&line))
}

/// The columns of numbers of a frame or table that pandas has written.
pub(super) fn frame(path: &str, name: &str) -> String {
    let key = format!("/{name}");
    let line = format!(
        r#"import h5py, pandas; df = pandas.read_hdf({path:?}, {key:?}); h5py.File("samples.h5", "x")["samples"] = df.select_dtypes("number").to_numpy()"#
    );
    format!("write its columns of numbers as a matrix with: {}", python(&line))
}

/// The columns of a table of any other program.
pub(super) fn table(path: &str, name: &str) -> String {
    let line = format!(
        r#"import h5py, numpy.lib.recfunctions as r; h5py.File("samples.h5", "x")["samples"] = r.structured_to_unstructured(h5py.File({path:?})[{name:?}][()])"#
    );
    format!("write its columns as a matrix with: {}", python(&line))
}

/// A dataset in the format of HDF5 1.10.
pub(super) fn older(path: &str, name: &str) -> String {
    let line = format!(
        r#"import h5py; h5py.File("samples.h5", "x", libver=("earliest", "v110"))["samples"] = h5py.File({path:?})[{name:?}][()]"#
    );
    format!("write it in the older format with: {}", python(&line))
}

/// Names in UTF-8 for all that has none in a group: the one line that changes the file itself.
pub(super) fn rename(path: &str, group: &str) -> String {
    let group = format!("/{group}");
    let line = format!(
        r#"import h5py; g = h5py.File({path:?}, "a")[{group:?}]; [g.move(n, n.decode("latin-1")) for n in list(g) if isinstance(n, bytes)]"#
    );
    format!("rename it with: {}", python(&line))
}

fn python(line: &str) -> String {
    command(&["python3", "-c", line])
}
