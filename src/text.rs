//! Numbers and names as people read them.

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

/// The first of some names, and how many there are beside them.
pub fn listed(names: impl ExactSizeIterator<Item = String>, between: &str) -> String {
    const NAMED: usize = 10;
    let more = names.len().saturating_sub(NAMED);
    let mut shown: Vec<String> = names.take(NAMED).collect();
    if more > 0 {
        shown.push(format!("and {more} more"));
    }
    shown.join(between)
}

/// A sentence whose names of files and datasets cannot steer a terminal.
pub fn printable(sentence: &str) -> String {
    let escaped = |c: char| c.is_control() && c != '\n';
    sentence.chars().map(|c| if escaped(c) { c.escape_default().to_string() } else { c.into() }).collect()
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

    #[test]
    fn ten_names_are_listed() {
        let names = |count: usize| (0..count).map(|name| name.to_string());
        assert_eq!(listed(names(2), ", "), "0, 1");
        assert_eq!(listed(names(12), "; "), "0; 1; 2; 3; 4; 5; 6; 7; 8; 9; and 2 more");
    }

    #[test]
    fn what_would_steer_a_terminal_is_shown_escaped() {
        assert_eq!(printable("a \u{1b}[31mred\r é\nb"), "a \\u{1b}[31mred\\r é\nb");
    }
}
