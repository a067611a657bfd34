//! Rewrites small statements so that they share texts: Neo4j plans each text once, and longer than
//! it runs it for a few rows.

use super::statement::{Presence, Statement};

/// Above this many rows, the common case is worth its own text.
const SMALL_ROWS: usize = 20;

/// The same writes. For new rows, small statements use the general text of their table.
pub fn in_few_texts(mut statements: Vec<Statement>) -> Vec<Statement> {
    for statement in &mut statements {
        match statement {
            Statement::UpsertNodes { new, rows, .. } if rows.len() <= SMALL_ROWS => *new = false,
            Statement::AddReferences { presence: presence @ Presence::New, rows, .. }
                if rows.len() <= SMALL_ROWS =>
            {
                // A text that creates only missing things is right for new rows too.
                *presence = Presence::Known;
            }
            _ => {}
        }
    }
    statements
}
