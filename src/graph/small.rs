//! Small statements in the words that serve all of them: Neo4j plans each text once, for longer than
//! it runs for a few rows.

use super::statement::{Presence, Statement};

/// With more rows than this, the way that is nearly always right is worth a text of its own.
const SMALL_ROWS: usize = 20;

/// The same writes. Of new rows, small statements say nothing that others of their table do not, so
/// that they share a text.
pub fn in_few_texts(mut statements: Vec<Statement>) -> Vec<Statement> {
    for statement in &mut statements {
        match statement {
            Statement::UpsertNodes { new, rows, .. } if rows.len() <= SMALL_ROWS => *new = false,
            Statement::AddReferences { presence: presence @ Presence::New, rows, .. }
                if rows.len() <= SMALL_ROWS =>
            {
                // What is made unless it is there is right for what is not.
                *presence = Presence::Known;
            }
            _ => {}
        }
    }
    statements
}
