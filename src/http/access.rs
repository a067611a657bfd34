//! Who may see the pages.
//!
//! `/live` and `/ready` are for probes, which have no secret: they are open, and say nothing of rows.

use base64::{Engine, prelude::BASE64_STANDARD};

use crate::secrets::{Renewed, Secret};

/// Pages that need no token.
const OPEN: [&str; 2] = ["/live", "/ready"];

/// What a request has to show.
#[derive(Clone, Default)]
pub struct Access {
    token: Option<Renewed<Secret>>,
    hosts: Vec<String>,
}

/// Why a request gets no page.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It was sent to a name that is none of ours: a web page of somebody else made a browser send it.
    Host,
    /// It does not have the token.
    Token,
}

impl Access {
    /// With a token, if there is one, and the names that requests may be sent to: without any, to all.
    pub fn new(token: Option<Renewed<Secret>>, hosts: Vec<String>) -> Self {
        Access { token, hosts }
    }

    /// Whether a request for a page gets it: with its `Host`, and its `Authorization`.
    pub fn check(
        &self,
        path: &str,
        host: Option<&str>,
        authorization: Option<&str>,
    ) -> Result<(), Denied> {
        let name = host.map(name_of);
        let is_ours = |name: &str| self.hosts.iter().any(|host| host.eq_ignore_ascii_case(name));
        if !self.hosts.is_empty() && !name.is_some_and(is_ours) {
            return Err(Denied::Host);
        }
        match &self.token {
            Some(token) if !OPEN.contains(&path) => {
                let shown = authorization.and_then(shown_token);
                let Secret(token) = token.now();
                let is_it = shown.is_some_and(|shown| is_same(shown.as_bytes(), token.as_bytes()));
                is_it.then_some(()).ok_or(Denied::Token)
            }
            _ => Ok(()),
        }
    }
}

/// A host without its port.
fn name_of(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|digit| digit.is_ascii_digit()) => name,
        _ => host,
    }
}

/// The token of `Bearer TOKEN`, or the password that a browser asks for.
fn shown_token(authorization: &str) -> Option<String> {
    let (scheme, shown) = authorization.split_once(' ')?;
    match scheme.to_ascii_lowercase().as_str() {
        "bearer" => Some(shown.trim().to_owned()),
        "basic" => {
            let login = String::from_utf8(BASE64_STANDARD.decode(shown.trim()).ok()?).ok()?;
            login.split_once(':').map(|(_, password)| password.to_owned())
        }
        _ => None,
    }
}

/// Takes as long wherever two texts of one length differ.
fn is_same(one: &[u8], other: &[u8]) -> bool {
    let differs = one.iter().zip(other).fold(0, |differs, (a, b)| differs | (a ^ b));
    one.len() == other.len() && differs == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_wanted_for_all_but_the_probes() {
        let token = Renewed::fixed(Secret("s3cret".to_owned()));
        let access = Access::new(Some(token), Vec::new());
        let with = |authorization| access.check("/metrics", Some("any"), authorization);
        assert_eq!(with(None), Err(Denied::Token));
        for wrong in
            ["Bearer s3cre", "Bearer s3creT", "Bearer", "Basic s3cret", "s3cret", "Basic eDo="]
        {
            assert_eq!(with(Some(wrong)), Err(Denied::Token), "{wrong}");
        }
        assert_eq!(with(Some("Bearer s3cret")), Ok(()));
        assert_eq!(with(Some("bearer  s3cret")), Ok(()));
        let login = format!("Basic {}", BASE64_STANDARD.encode("me:s3cret"));
        assert_eq!(with(Some(&login)), Ok(()));
        assert_eq!(access.check("/ready", None, None), Ok(()));
        assert_eq!(access.check("/live", None, None), Ok(()));
        assert_eq!(access.check("/", None, None), Err(Denied::Token));
    }

    #[test]
    fn a_request_for_another_host_is_denied_where_hosts_are_named() {
        let access = Access::new(None, vec!["graph.example".to_owned(), "[::1]".to_owned()]);
        let to = |host| access.check("/", host, None);
        assert_eq!(to(Some("graph.example:8080")), Ok(()));
        assert_eq!(to(Some("GRAPH.example")), Ok(()));
        assert_eq!(to(Some("[::1]:8080")), Ok(()));
        assert_eq!(to(Some("evil.example")), Err(Denied::Host));
        assert_eq!(to(None), Err(Denied::Host));
        assert_eq!(Access::default().check("/", Some("evil.example"), None), Ok(()));
    }
}
