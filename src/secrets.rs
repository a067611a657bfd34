//! Secrets: values that are not shown, and values that are replaced while the program runs.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

/// A text that is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A value that files have something of: it is read again each time that it is used.
#[derive(Clone)]
pub struct Renewed<T> {
    last: Arc<Mutex<T>>,
    files: Arc<[String]>,
    read: Option<Read<T>>,
}

/// `None`: it can not be read now.
type Read<T> = Arc<dyn Fn() -> Option<T> + Send + Sync>;

impl<T: Clone> Renewed<T> {
    /// One that no file has.
    pub fn fixed(value: T) -> Self {
        Renewed { last: Arc::new(Mutex::new(value)), files: Arc::default(), read: None }
    }

    /// One that these files have something of.
    pub fn by(
        value: T,
        files: Vec<String>,
        read: impl Fn() -> Option<T> + Send + Sync + 'static,
    ) -> Self {
        Renewed { files: files.into(), read: Some(Arc::new(read)), ..Renewed::fixed(value) }
    }

    /// The value now. While it can not be read it stays as it was.
    pub fn now(&self) -> T {
        let read = self.read.as_ref().and_then(|read| read());
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(read) = read {
            *last = read;
        }
        last.clone()
    }
}

impl<T> Renewed<T> {
    /// The files.
    pub fn files(&self) -> &[String] {
        &self.files
    }
}

impl<T: Default + Clone> Default for Renewed<T> {
    fn default() -> Self {
        Renewed::fixed(T::default())
    }
}

/// As it was last.
impl<T: fmt::Debug> fmt::Debug for Renewed<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Arc, Mutex, Renewed, Secret};

    #[test]
    fn a_value_is_read_again_and_stays_while_it_can_not_be() {
        let file = Arc::new(Mutex::new(Some(1)));
        let reads = file.clone();
        let value = Renewed::by(0, vec!["f".to_owned()], move || *reads.lock().unwrap());
        assert_eq!((value.now(), value.files()), (1, &["f".to_owned()][..]));
        for (has, expected) in [(Some(2), 2), (None, 2), (Some(3), 3)] {
            *file.lock().unwrap() = has;
            assert_eq!(value.clone().now(), expected);
        }
        assert_eq!(Renewed::fixed(7).now(), 7);
    }

    #[test]
    fn a_secret_is_not_shown() {
        assert_eq!(format!("{:?}", Renewed::fixed(Secret("s3cret".to_owned()))), "***");
    }
}
