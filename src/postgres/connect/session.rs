//! The settings of a session. Server, database, role and URL can not override them.
//!
//! ```text
//! options of the URL, then PINNED, at the log-in --> what only some servers have, once logged in
//! ```

/// These settings decide the text of values, or could hide something from us, end long waits or
/// forbid one of our statements. `row_security=off`: a policy that would hide rows from a copy is
/// an error instead. `jit=off`: the estimates for a query of the catalog are high, and compiling one took seconds.
/// `role=none`: the rights are those of the role that logs in, which the server
/// also checks for replication.
const PINNED: &str = "-c DateStyle=ISO -c IntervalStyle=iso_8601 -c TimeZone=UTC -c extra_float_digits=3 \
     -c bytea_output=hex -c lc_monetary=C -c search_path=pg_catalog -c quote_all_identifiers=off \
     -c standard_conforming_strings=on -c transform_null_equals=off -c row_security=off -c role=none \
     -c client_min_messages=notice -c default_transaction_read_only=off \
     -c default_transaction_isolation=read\\ committed -c default_transaction_deferrable=off \
     -c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0 -c idle_session_timeout=0 \
     -c jit=off";

/// Since this version transactions may have a time limit; older servers do not know the setting.
const LIMITS_TRANSACTIONS: u32 = 17;

/// The statements to run once the server has named its version and encoding; empty if none is
/// needed.
///
/// A database without an encoding holds any bytes. They come unchanged, because the server would
/// end the stream at the first byte that is not UTF-8.
pub fn settling(parameter: impl Fn(&str) -> Option<String>) -> String {
    let version = parameter("server_version").unwrap_or_default();
    let digits = version.find(|it: char| !it.is_ascii_digit()).unwrap_or(version.len());
    let major: u32 = version[..digits].parse().unwrap_or(0);
    let limits = (major >= LIMITS_TRANSACTIONS).then_some("SET transaction_timeout TO 0");
    let is_without_encoding = parameter("server_encoding").is_some_and(|it| it == "SQL_ASCII");
    let bytes = is_without_encoding.then_some("SET client_encoding TO 'SQL_ASCII'");
    [limits, bytes].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

/// The startup packet's `options`. Pinned settings come last, and override the others.
pub fn options(given: Option<&str>) -> String {
    match given {
        Some(given) => format!("{given} {PINNED}"),
        None => PINNED.to_owned(),
    }
}

/// Whether options are settings and nothing else: `-c NAME=VALUE` or `--NAME=VALUE`, separated by
/// spaces, with `\` as the escape.
pub fn are_settings(options: &str) -> bool {
    let Some(arguments) = split(options) else { return false };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let setting = match argument.as_str() {
            "-c" => arguments.next().map(String::as_str),
            other => other.strip_prefix("--").or_else(|| other.strip_prefix("-c")),
        };
        let name = setting.and_then(|setting| setting.split_once('=')).map(|(name, _)| name);
        let is_name = |name: &str| {
            let known = |it: char| it.is_ascii_alphanumeric() || ['_', '-', '.'].contains(&it);
            !name.is_empty() && name.chars().all(known)
        };
        if !name.is_some_and(is_name) {
            return false;
        }
    }
    true
}

/// The arguments, split as the server does; `None` if an escape ends the text.
fn split(options: &str) -> Option<Vec<String>> {
    let (mut arguments, mut current) = (Vec::new(), None::<String>);
    let mut characters = options.chars();
    while let Some(character) = characters.next() {
        match character {
            it if it.is_ascii_whitespace() => arguments.extend(current.take()),
            '\\' => current.get_or_insert_default().push(characters.next()?),
            it => current.get_or_insert_default().push(it),
        }
    }
    arguments.extend(current);
    Some(arguments)
}

#[cfg(test)]
mod tests {
    use super::{PINNED, are_settings, options, settling};

    #[test]
    fn what_is_set_depends_on_what_the_server_is() {
        let limits = "SET transaction_timeout TO 0";
        let bytes = "SET client_encoding TO 'SQL_ASCII'";
        for (version, encoding, set) in [
            ("14.20", "UTF8", String::new()),
            ("16.11 (Debian 16.11-1)", "SQL_ASCII", bytes.to_owned()),
            ("17.7", "LATIN1", limits.to_owned()),
            ("19rc1", "SQL_ASCII", format!("{limits}; {bytes}")),
            ("", "", String::new()),
        ] {
            let parameter = |name: &str| match name {
                "server_version" => Some(version.to_owned()),
                "server_encoding" => Some(encoding.to_owned()),
                _ => None,
            };
            assert_eq!(settling(parameter), set, "{version} {encoding}");
        }
    }

    #[test]
    fn only_settings_are_options() {
        for text in ["", " ", "-c a=b", "-ca=b  --a-b=c\\ d", "-c x.y= -c geqo=off", PINNED] {
            assert!(are_settings(text), "{text}");
        }
        for text in
            ["-c", "-c a", "a=b", "-d 5", "--", "-- -c a=b", "-c =b", "-c a=\\", "-B 10 -c a=b"]
        {
            assert!(!are_settings(text), "{text}");
        }
    }

    #[test]
    fn what_is_pinned_comes_last() {
        assert!(options(Some("-c DateStyle=German")).ends_with(PINNED));
        assert_eq!(options(None), PINNED);
    }
}
