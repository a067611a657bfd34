//! A small transaction as one statement: one round trip to the server, instead of one for each
//! statement and for BEGIN, compare-and-set and COMMIT.
//!
//! ```text
//! MATCH checkpoint, lock, compare --no row: refused, nothing below runs-->
//!   |
//!   move it -> CALL () { statement } -> CALL () { statement } -> ...     one row, so one after another
//! ```
//!
//! Round trips dominate small transactions. So the fused statement runs every fallback
//! unconditionally: correct, merely more work than usually needed.
//!
//! Neo4j plans every new text, which takes longer than the round trips that fusing saves. So this
//! module fuses only texts that have come together before, and so few of such sets that Neo4j keeps
//! their plans.

use std::hash::{DefaultHasher, Hash, Hasher};

use super::cypher::Query;

/// More rows than this are worth their own round trips.
const ROWS_MAX: usize = 256;
/// Planning more texts than this takes too long.
const TEXTS_MAX: usize = 12;
/// Texts have to come together this often before they are fused.
pub const FAMILIAR: u32 = 3;
/// The number of remembered sets of texts. Neo4j keeps 1,000 plans by default.
const SETS_MAX: usize = 64;
/// The prefix of statements' texts.
const UNWIND: &str = "UNWIND $rows[0] ";

/// The sets of texts that came together recently, the last one first.
#[derive(Debug, Default)]
pub struct Familiar(Vec<(u64, u32)>);

impl Familiar {
    /// Records that these came together. Returns whether to fuse them.
    pub fn meet(&mut self, queries: &[Query]) -> bool {
        let rows: usize = queries.iter().map(|query| query.rows.len()).sum();
        let fits = rows <= ROWS_MAX && texts(queries).count() <= TEXTS_MAX;
        if !fits || texts(queries).any(|(text, _)| !text.starts_with(UNWIND)) {
            return false;
        }
        let mut hasher = DefaultHasher::new();
        texts(queries).for_each(|(text, _)| text.hash(&mut hasher));
        let set = hasher.finish();
        let place = self.0.iter().position(|(known, _)| *known == set);
        let met = place.map_or(0, |place| self.0.remove(place).1);
        self.0.insert(0, (set, met.saturating_add(1)));
        self.0.truncate(SETS_MAX);
        met >= FAMILIAR
    }
}

/// The text after the compare-and-set. The rows of the first query are `$rows[0]`.
pub fn calls(queries: &[Query]) -> String {
    let calls = texts(queries).map(|(text, query)| {
        let rest = text.strip_prefix(UNWIND).unwrap_or_else(|| panic!("not to be fused: {text}"));
        format!(" CALL () {{ UNWIND $rows[{query}] {rest} }}")
    });
    // Cypher requires a WITH between a write and a CALL.
    let with = (!queries.is_empty()).then(|| " WITH 1 AS passed".to_owned());
    with.into_iter().chain(calls).collect()
}

/// Every text, fallbacks included, in order, with the index of its query.
fn texts(queries: &[Query]) -> impl Iterator<Item = (&str, usize)> {
    queries.iter().enumerate().flat_map(|(index, query)| {
        let otherwise = query.otherwise.iter().flat_map(|otherwise| &otherwise.texts);
        std::iter::once(&query.text).chain(otherwise).map(move |text| (text.as_ref(), index))
    })
}

#[cfg(test)]
mod tests {
    use super::{FAMILIAR, Familiar, ROWS_MAX, SETS_MAX, calls};
    use crate::neo4j::cypher::{Done, Otherwise, Parameter, Query};

    fn query(name: &str, rows: usize) -> Query {
        let rows = (0..rows).map(|_| Parameter::List(vec![Parameter::Null])).collect();
        let text = format!("UNWIND $rows[0] AS r MERGE (n:{name} {{id: r[0]}})").into();
        Query { text, rows, otherwise: None }
    }

    #[test]
    fn what_came_together_before_is_fused() {
        let (mut familiar, queries) = (Familiar::default(), [query("A", 1), query("B", 2)]);
        for _ in 0..FAMILIAR {
            assert!(!familiar.meet(&queries));
        }
        assert!(familiar.meet(&queries));
        assert!(!familiar.meet(&queries[..1]), "others");
        assert!(!familiar.meet(&[query("A", ROWS_MAX), query("B", 2)]), "too many rows");
        for other in 0..SETS_MAX {
            familiar.meet(&[query(&format!("X{other}"), 1)]);
        }
        assert!(!familiar.meet(&queries), "forgotten");
    }

    #[test]
    fn each_text_is_called_in_order_with_its_rows() {
        let texts = vec!["UNWIND $rows[0] AS r SET x".into()];
        let otherwise = Some(Otherwise { unless: Done::NodesMade, texts });
        let first = Query { otherwise, ..query("A", 1) };
        let text = " WITH 1 AS passed CALL () { UNWIND $rows[0] AS r MERGE (n:A {id: r[0]}) } \
                    CALL () { UNWIND $rows[0] AS r SET x } \
                    CALL () { UNWIND $rows[1] AS r MERGE (n:B {id: r[0]}) }";
        assert_eq!(calls(&[first, query("B", 2)]), text);
        assert_eq!(calls(&[]), "", "a step without data");
    }
}
