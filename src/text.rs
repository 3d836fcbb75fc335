//! Numbers as people read them.

/// A number with an SI prefix, three digits.
pub fn si(value: f64) -> String {
    let prefixes = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    match prefixes.iter().find(|(scale, _)| value >= *scale) {
        Some((scale, prefix)) => format!("{:.2} {prefix}", value / scale),
        None => format!("{value:.2} "),
    }
}

/// So many of a thing: 1 rank, 2 ranks.
pub fn counted(count: usize, thing: &str) -> String {
    format!("{count} {thing}{}", if count == 1 { "" } else { "s" })
}

/// A number of bytes, in powers of 1000.
pub fn bytes(count: u64) -> String {
    bytes_f(count as f64)
}

/// Likewise, of a rate.
pub fn bytes_f(count: f64) -> String {
    format!("{}B", si(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_get_a_prefix() {
        assert_eq!(si(27.6e9), "27.60 G");
        assert_eq!(bytes(999), "999.00 B");
        assert_eq!([counted(1, "rank"), counted(0, "rank")], ["1 rank", "0 ranks"]);
        assert_eq!(bytes(1_152_000_000), "1.15 GB");
    }
}
