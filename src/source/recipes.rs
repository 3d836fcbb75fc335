//! Lines of Python that make samples of what this program does not read. All of them write `samples.h5`, or a
//! name that the file itself has not, and replace no file.

use std::path::Path;

use crate::host::command;

/// A sparse matrix, made dense: its class in SciPy, and where its extent is. `is_turned`: its columns are the samples.
pub(super) fn dense(path: &str, name: &str, class: &str, extent: Option<String>, is_turned: bool) -> String {
    let extent = extent.map(|extent| format!(", tuple({extent})")).unwrap_or_default();
    let turned = if is_turned { ".T" } else { "" };
    let [output, path, name] = texts(path, name);
    let line = format!(
        r#"import h5py, scipy.sparse as s; g = h5py.File({path})[{name}]; h5py.File({output}, "x")["samples"] = s.{class}((g["data"][()], g["indices"][()], g["indptr"][()]){extent}){turned}.toarray()"#
    );
    format!("make it dense with: {}", python(&line))
}

/// The columns of numbers of a frame or table that pandas has written.
pub(super) fn frame(path: &str, name: &str) -> String {
    let [output, path, key] = texts(path, &format!("/{name}"));
    let line = format!(
        r#"import h5py, pandas; df = pandas.read_hdf({path}, {key}); h5py.File({output}, "x")["samples"] = df.select_dtypes("number").to_numpy()"#
    );
    format!("write its columns of numbers as a matrix with: {}", python(&line))
}

/// The columns of a table of any other program.
pub(super) fn table(path: &str, name: &str) -> String {
    let [output, path, name] = texts(path, name);
    let line = format!(
        r#"import h5py, numpy.lib.recfunctions as r; t = h5py.File({path})[{name}][()]; h5py.File({output}, "x")["samples"] = r.structured_to_unstructured(t[[n for n in t.dtype.names if t.dtype[n].base.kind in "biuf"]])"#
    );
    format!("write its columns of numbers as a matrix with: {}", python(&line))
}

/// A dataset in the format of HDF5 1.10.
pub(super) fn older(path: &str, name: &str) -> String {
    let [output, path, name] = texts(path, name);
    let line = format!(
        r#"import h5py; h5py.File({output}, "x", libver=("earliest", "v110"))["samples"] = h5py.File({path})[{name}][()]"#
    );
    format!("write it in the older format with: {}", python(&line))
}

/// Names in UTF-8 for all that has none in a group: the one line that changes the file itself.
pub(super) fn rename(path: &str, group: &str) -> String {
    let [_, path, group] = texts(path, &format!("/{group}"));
    let line = format!(
        r#"import h5py; g = h5py.File({path}, "a")[{group}]; [g.move(n, n.decode("latin-1")) for n in list(g) if isinstance(n, bytes)]"#
    );
    format!("rename it with: {}", python(&line))
}

/// The file to write, and two names, as texts of Python.
fn texts(path: &str, name: &str) -> [String; 3] {
    let is_taken = Path::new(path).file_name().is_some_and(|name| name == "samples.h5");
    [if is_taken { "samples-2.h5" } else { "samples.h5" }, path, name].map(text)
}

fn text(of: &str) -> String {
    let escaped = of.chars().map(|one| match one {
        '\\' | '"' => format!("\\{one}"),
        _ if one.is_control() => format!("\\x{:02x}", u32::from(one)),
        _ => one.to_string(),
    });
    format!("\"{}\"", escaped.collect::<String>())
}

fn python(line: &str) -> String {
    command(&["python3", "-c", line])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_texts_of_python() {
        assert_eq!(text("e\u{301} \"a\"\\b\n"), "\"e\u{301} \\\"a\\\"\\\\b\\x0a\"");
        assert_eq!(texts("a/samples.h5", "x")[0], "\"samples-2.h5\"");
    }
}
