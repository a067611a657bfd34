//! How a comparison ends: which findings are a failure.

use crate::{
    config::Config,
    pipeline::Store,
    request::Findings,
    service::{
        ServiceError,
        graph::{Wait, open},
    },
};

/// How many rows of the compared tables are set aside.
pub async fn set_aside(config: &Config, findings: &Findings) -> Result<usize, ServiceError> {
    let letters = open(config, Wait::Usual)?.letters(&config.pipeline).await?;
    let is_compared = |table: &String| findings.tables.iter().any(|it| it.table == *table);
    Ok(letters.iter().filter(|letter| is_compared(&letter.table)).count())
}

pub fn letters_wait(rows: usize) -> String {
    let what = if rows == 1 { "1 row is".to_owned() } else { format!("{rows} rows are") };
    format!("{what} set aside, since Neo4j refuses them: `wal2graph dead-letters list` shows why")
}

/// What differs is an error where nothing is written.
pub fn fail_if_any(findings: &Findings, set_aside: usize) -> Result<(), ServiceError> {
    let differing = findings.differing();
    let differ = if differing == 1 {
        "1 row differs".to_owned()
    } else {
        format!("{differing} rows differ")
    };
    match (differing, findings.keyless()) {
        (0, 0) => Ok(()),
        (0, keyless) => Err(ServiceError::Definite(format!(
            "all rows are equal, and the graph has {keyless} nodes or relationships more that have no key. `wal2graph \
             repair` leaves them: only their owner can tell whether they may go"
        ))),
        (..) if set_aside > 0 => Err(ServiceError::Definite(format!(
            "{differ}, and {}. `wal2graph repair` mends the others",
            letters_wait(set_aside)
        ))),
        (1, _) => Err(ServiceError::Definite(format!("{differ}. `wal2graph repair` mends it"))),
        _ => Err(ServiceError::Definite(format!("{differ}. `wal2graph repair` mends them"))),
    }
}
