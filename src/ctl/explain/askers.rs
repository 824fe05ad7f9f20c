//! The units that asked for a name, as lines of the page.

use super::page::{clean, span};
use hither_control::{AskedBy, counted};

/// The lines; none if the daemon is of a version that does not know units.
pub(super) fn lines(known: &AskedBy) -> String {
    let unknown = known.unknown.as_ref().map(|why| format!("    not known: {}\n", clean(why)));
    let askers = known.units.iter().map(|asker| {
        let unit = match asker.unit.as_str() {
            "" => "a client without a unit here".to_owned(),
            unit => clean(unit),
        };
        let queries = counted(asker.queries, "query", "queries");
        format!("    {unit}: {queries} that needed a round, the latest {} ago\n", span(asker.ago_ms))
    });
    let lines: String = askers.chain(unknown).collect();
    if lines.is_empty() { lines } else { format!("asked by\n{lines}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hither_control::Asker;

    #[test]
    fn units_are_shown_and_why_they_are_not_and_no_name_controls_the_terminal() {
        assert_eq!(lines(&AskedBy::default()), "");
        let unit = |unit: &str, queries| Asker { unit: unit.to_owned(), ago_ms: 1200, queries };
        let known = AskedBy { units: vec![unit("cups\u{1b}[2J.service", 2), unit("", 1)], unknown: None };
        let said = lines(&known);
        assert_eq!(
            said,
            "asked by\n    cups\\u{1b}[2J.service: 2 queries that needed a round, the latest 1.2 s ago\n    \
             a client without a unit here: 1 query that needed a round, the latest 1.2 s ago\n"
        );
        let known = AskedBy { units: Vec::new(), unknown: Some("nobody looks".to_owned()) };
        assert_eq!(lines(&known), "asked by\n    not known: nobody looks\n");
    }
}
