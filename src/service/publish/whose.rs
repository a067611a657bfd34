//! Whose the records of our topics have to be.

use crate::{
    config::Config,
    topic::whose::{Through, Whose},
};

/// What this pipeline's records say.
pub fn own(config: &Config) -> Whose {
    let database = config.source().database().to_owned();
    Whose { pipeline: Some(config.pipeline.clone()), database: Some(database) }
}

/// What its heartbeats say besides.
pub fn through(config: &Config) -> Through {
    Through {
        database: config.source().database().to_owned(),
        slot: config.slot.clone(),
        publication: config.publication.clone(),
    }
}
