//! A build without Kafka has no records.

use serde::Serialize;

use crate::{cli::Chosen, config::Config, service::ServiceError};

/// There are none.
#[expect(dead_code, reason = "none is ever made")]
pub enum Records<'a> {
    Never(std::convert::Infallible, &'a Config),
}

/// One of them.
#[derive(Serialize)]
pub struct Listed {
    pub name: String,
    pub time: Option<String>,
    pub reason: String,
}

impl<'a> Records<'a> {
    pub async fn open(_: &'a Config) -> Result<Option<Self>, ServiceError> {
        Ok(None)
    }

    pub fn list(&self) -> Vec<Listed> {
        match *self {
            Records::Never(never, _) => match never {},
        }
    }

    pub async fn show(&self, _: &str, _: bool) -> Result<(), ServiceError> {
        match *self {
            Records::Never(never, _) => match never {},
        }
    }

    pub async fn retry(&self, _: &Chosen, _: bool) -> Result<(), ServiceError> {
        match *self {
            Records::Never(never, _) => match never {},
        }
    }

    pub async fn drop(&self, _: &Chosen) -> Result<(), ServiceError> {
        match *self {
            Records::Never(never, _) => match never {},
        }
    }
}
