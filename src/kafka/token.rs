//! Tokens for OAUTHBEARER, from a file that another program keeps fresh.
//!
//! ```text
//! cloud, identity provider --> signer or sidecar --> file --> librdkafka, before each has run out
//! ```
//!
//! What a token is, and who signs it, is the signer's business: a JWT of Entra or Keycloak, a signed URL
//! of AWS MSK. librdkafka asks for the next one in time, but only who polls. So a client is given one
//! when it is made, and before a question that nobody polls for.

use std::{
    ffi::{CStr, CString, c_char},
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
    ptr,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use rdkafka::{
    ClientContext,
    bindings::rd_kafka_oauthbearer_set_token,
    client::{Client, OAuthToken},
    types::RDKafkaRespErr,
};
use serde::Deserialize;

use super::{Error, Result};

/// A token that does not say when it ends is read again after most of this.
const LIFE_MAX: Duration = Duration::from_secs(60);
/// librdkafka asks for a name, and tells nobody.
const PRINCIPAL: &str = "wal2graph";
/// How much it says about a token that it does not take.
const REASON_BYTES: usize = 512;

/// What a JWT says of itself that matters here.
#[derive(Deserialize)]
struct Claims {
    /// When it ends, in seconds since 1970.
    exp: Option<f64>,
}

/// The token that the file has now.
pub(super) fn read(path: &Path) -> Result<OAuthToken> {
    let said = |cause: String| Error::Token { file: path.display().to_string(), cause };
    let text = std::fs::read_to_string(path).map_err(|error| said(error.to_string()))?;
    let token = text.trim();
    if token.is_empty() {
        return Err(said("it is empty".to_owned()));
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let end = match end_of(token) {
        Some(end) if end <= now => {
            let ago = (now - end).as_secs();
            return Err(said(format!(
                "its token has run out {ago} s ago, and nobody has written a new one"
            )));
        }
        Some(end) => end.min(now + LIFE_MAX),
        None => now + LIFE_MAX,
    };
    Ok(OAuthToken {
        token: token.to_owned(),
        principal_name: PRINCIPAL.to_owned(),
        lifetime_ms: i64::try_from(end.as_millis()).unwrap_or(i64::MAX),
    })
}

/// When a token ends, if it is a JWT that says so.
fn end_of(token: &str) -> Option<Duration> {
    let claims = BASE64.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    let claims: Claims = serde_json::from_slice(&claims).ok()?;
    Duration::try_from_secs_f64(claims.exp?).ok()
}

/// The tokens that a client was given. It keeps none of them, only what tells them apart.
#[derive(Debug, Default)]
pub(super) struct Given {
    last: Option<u64>,
    is_renewed: bool,
}

impl Given {
    /// The client is given this one.
    pub(super) fn gets(&mut self, token: &OAuthToken) {
        let next = Some(digest(token));
        self.is_renewed |= self.last.is_some() && self.last != next;
        self.last = next;
    }

    /// Whether a broker that has refused a log-in may take the next one. The refused token is the
    /// first one of the client, and still the file's: then it may not. Otherwise the refused token
    /// may have run out: the client did not run for a while, or the next token came late.
    pub(super) fn may_be_outdated(&self, file: &Path) -> bool {
        self.is_renewed || read(file).map_or(true, |token| self.last != Some(digest(&token)))
    }
}

fn digest(token: &OAuthToken) -> u64 {
    let mut hasher = DefaultHasher::new();
    token.token.hash(&mut hasher);
    hasher.finish()
}

/// Gives a client a token of the file.
///
/// # Errors
/// librdkafka does not take it.
pub(super) fn give<C: ClientContext>(
    client: &Client<C>,
    path: &Path,
    token: OAuthToken,
) -> Result<()> {
    let said = |cause: String| Error::Token { file: path.display().to_string(), cause };
    let OAuthToken { token, principal_name, lifetime_ms } = token;
    let c_string = |text| CString::new(text).map_err(|_| said("it has a zero byte".to_owned()));
    let (token, principal) = (c_string(token)?, c_string(principal_name)?);
    let mut reason: [c_char; REASON_BYTES] = [0; REASON_BYTES];
    // SAFETY: the client lives longer than this function. librdkafka copies token and name, and writes
    // no more than the length of `reason`, a zero byte at its end.
    #[allow(unsafe_code)]
    let (code, reason) = unsafe {
        let code = rd_kafka_oauthbearer_set_token(
            client.native_ptr(),
            token.as_ptr(),
            lifetime_ms,
            principal.as_ptr(),
            ptr::null_mut(),
            0,
            reason.as_mut_ptr(),
            reason.len(),
        );
        (code, CStr::from_ptr(reason.as_ptr()).to_string_lossy().into_owned())
    };
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        _ => Err(said(reason)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("{}.{}.", BASE64.encode("{\"alg\":\"none\"}"), BASE64.encode(claims))
    }

    fn read_text(text: &str) -> Result<OAuthToken> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read(file.path())
    }

    #[test]
    fn a_token_is_used_until_it_ends_or_its_file_is_to_be_read_again() {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        let token = jwt(&format!("{{\"sub\":\"cdc\",\"exp\":{}}}", now + 10));
        let soon = read_text(&format!("{token}\n")).unwrap();
        assert_eq!((soon.token, soon.lifetime_ms / 1000), (token, now as i64 + 10));
        for text in [jwt(&format!("{{\"exp\":{}}}", now + 3_600)), "aHR0cHM6Ly9rYWZrYQ".to_owned()]
        {
            let life = read_text(&text).unwrap().lifetime_ms / 1000 - now as i64;
            assert!((50..=70).contains(&life), "{life}");
        }
    }

    #[test]
    fn a_refused_token_is_outdated_unless_it_is_the_first_one_and_still_in_the_file() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let write = |text: &str| std::fs::write(file.path(), text).unwrap();
        let mut given = Given::default();
        write("first");
        given.gets(&read(file.path()).unwrap());
        given.gets(&read(file.path()).unwrap());
        assert!(!given.may_be_outdated(file.path()), "the next log-in would be the same");
        write(&jwt("{\"exp\":1000}"));
        assert!(given.may_be_outdated(file.path()), "the next token is late");
        write("second");
        assert!(given.may_be_outdated(file.path()), "the file has another one");
        given.gets(&read(file.path()).unwrap());
        assert!(given.may_be_outdated(file.path()), "the first one may have been refused");
    }

    #[test]
    fn a_file_without_a_token_that_can_be_used_is_named_and_shows_none() {
        let token = jwt("{\"exp\":1000}");
        let said = read_text(&token).err().unwrap().to_string();
        assert!(said.contains("has run out") && said.contains("kafka.oauth_token_file"), "{said}");
        assert!(!said.contains(&token), "{said}");
        assert!(read_text(" \n").err().unwrap().to_string().contains("it is empty"));
        assert!(read(Path::new("/not/there")).err().unwrap().to_string().contains("/not/there"));
    }
}
