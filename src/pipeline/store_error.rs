//! What a store says beside its answers: errors, and what a metric counts.

use std::{error::Error, fmt};

use super::{Failure, Verdict};

/// Learns what a store does beside its answers.
pub trait Witness: Send + Sync {
    /// A write is tried again, or an unanswered COMMIT was settled; the reason is one word for a
    /// metric.
    fn retried(&self, reason: &'static str);

    /// A batch waits until this many statements are prepared; 0: it waits no longer.
    fn waits_for(&self, statements: usize);
}

/// For whom it does not matter.
impl Witness for () {
    fn retried(&self, _: &'static str) {}

    fn waits_for(&self, _: usize) {}
}

/// Why a store did not do what it was asked.
#[derive(Debug)]
pub struct StoreError {
    product: &'static str,
    error: Box<dyn Failure>,
}

impl StoreError {
    /// An error of this product.
    pub fn new(product: &'static str, error: impl Failure) -> Self {
        StoreError { product, error: Box::new(error) }
    }

    /// The product's name.
    pub fn product(&self) -> &'static str {
        self.product
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl Failure for StoreError {
    fn verdict(&self) -> Verdict {
        self.error.verdict()
    }

    fn within(&self) -> Option<&dyn Failure> {
        Some(&*self.error)
    }
}
