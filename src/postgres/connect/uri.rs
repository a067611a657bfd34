//! A URL cut into libpq's parameters.
//!
//! ```text
//! postgres://USER:PASSWORD@HOST:PORT,HOST:PORT/DATABASE?NAME=VALUE&...
//! --> user, password, host, port, dbname, NAME, ...: percent-encoding undone, nothing understood yet
//! ```
//!
//! Parameters after `?` override the parts before it, as in libpq. Errors show no part of the text:
//! any of it may belong to a password with unencoded special characters.

/// Names and values, in the URL's order.
pub type Pairs = Vec<(String, String)>;

const ENCODE: &str = "percent-encode special characters in user, password and database (/ as %2F, : as %3A, @ as %40)";

/// Splits a URL. An error names the mistake, and shows no part of the URL.
pub fn cut(url: &str) -> Result<Pairs, String> {
    let schemes = ["postgres://", "postgresql://"];
    let rest = schemes.iter().find_map(|scheme| url.strip_prefix(scheme));
    let rest = rest.ok_or("it does not begin with postgres://")?;
    let mut pairs = Pairs::new();
    let rest = match rest.find(['@', '/']) {
        Some(at) if rest[at..].starts_with('@') => {
            let (user, password) = rest[..at].split_once(':').unwrap_or((&rest[..at], ""));
            store(&mut pairs, "user", decode(user)?);
            store(&mut pairs, "password", decode(password)?);
            &rest[at + 1..]
        }
        _ => rest,
    };
    let (place, query) = rest.split_once('?').unwrap_or((rest, ""));
    if place.contains('@') {
        return Err(format!("it has an @ too many: {ENCODE}"));
    }
    let (servers, database) = place.split_once('/').unwrap_or((place, ""));
    hosts(servers, &mut pairs)?;
    store(&mut pairs, "dbname", decode(database)?);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=').ok_or("a parameter after ? has no =")?;
        match (decode(name)?, decode(value)?) {
            // JDBC's form, which libpq accepts.
            (name, value) if name == "ssl" && value == "true" => {
                pairs.push(("sslmode".to_owned(), "require".to_owned()));
            }
            pair => pairs.push(pair),
        }
    }
    Ok(pairs)
}

fn store(pairs: &mut Pairs, name: &str, value: String) {
    if !value.is_empty() {
        pairs.push((name.to_owned(), value));
    }
}

/// `HOST:PORT,[ADDRESS]:PORT` as two lists. Without any port there is no list of ports.
fn hosts(servers: &str, pairs: &mut Pairs) -> Result<(), String> {
    let (mut hosts, mut ports) = (Vec::new(), Vec::new());
    for server in servers.split(',') {
        let (host, port) = match server.strip_prefix('[') {
            Some(rest) => {
                let (host, rest) = rest.split_once(']').ok_or("a [ has no ] after the address")?;
                let port = if rest.is_empty() { Some("") } else { rest.strip_prefix(':') };
                (host, port.ok_or("an address in [] is followed by something other than :PORT")?)
            }
            None => server.split_once(':').unwrap_or((server, "")),
        };
        let port = decode(port)?;
        if !port.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(format!(
                "what follows the host's colon is no port: {ENCODE}, and write an IPv6 address as [ADDRESS]"
            ));
        }
        let host = decode(host)?;
        if host.contains(',') {
            return Err("a host has a comma in it: separate hosts by commas that are not encoded"
                .to_owned());
        }
        hosts.push(host);
        ports.push(port);
    }
    store(pairs, "host", hosts.join(","));
    store(pairs, "port", ports.join(","));
    Ok(())
}

/// Undoes percent-encoding. Errors name no part of the text.
pub fn decode(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first != b'%' {
            bytes.push(first);
            rest = after;
            continue;
        }
        let digits = after.split_at_checked(2);
        let byte = digits.and_then(|(digits, _)| hexadecimal(digits));
        let (Some(byte @ 1..), Some((_, after))) = (byte, digits) else {
            return Err(
                "a % is not followed by two hexadecimal digits other than 00: write % as %25"
                    .to_owned(),
            );
        };
        bytes.push(byte);
        rest = after;
    }
    String::from_utf8(bytes).map_err(|_| "percent-encoded bytes are no UTF-8".to_owned())
}

fn hexadecimal(digits: &[u8]) -> Option<u8> {
    let value =
        |digit: u8| char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok());
    digits.iter().try_fold(0, |byte: u8, digit| Some(byte << 4 | value(*digit)?))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use proptest::prelude::*;

    use super::cut;

    fn shown(url: &str) -> String {
        let pairs = cut(url).unwrap();
        let pairs: Vec<String> =
            pairs.iter().map(|(name, value)| format!("{name}={value}")).collect();
        pairs.join(" ")
    }

    #[test]
    fn parts_of_urls() {
        for (url, parts) in [
            ("postgres://", ""),
            ("postgresql://u:p@h:1/d", "user=u password=p host=h port=1 dbname=d"),
            ("postgres://u:a?b@h", "user=u password=a?b host=h"),
            ("postgres://h", "host=h"),
            ("postgres://a,b:2/d", "host=a,b port=,2 dbname=d"),
            ("postgres://[::1]:7,[fe80::1%25eth0]/d", "host=::1,fe80::1%eth0 port=7, dbname=d"),
            ("postgres://u:%40%2F%3a@%2Frun/d%20e", "user=u password=@/: host=/run dbname=d e"),
            ("postgres:///d?host=/run&options=-c a=b", "dbname=d host=/run options=-c a=b"),
            (
                "postgres://h?ssl=true&&application_name=a%26b",
                "host=h sslmode=require application_name=a&b",
            ),
        ] {
            assert_eq!(shown(url), parts, "{url}");
        }
    }

    #[test]
    fn what_is_no_url_is_refused_without_a_part_of_it() {
        for url in [
            "postgres://u:se/cret@h/d",
            "postgres://u:se@cret@h/d",
            "postgres://u:secret%@h/d",
            "postgres://u:secret%0@h/d",
            "postgres://u:secret%+1@h/d",
            "postgres://u:secret%00@h/d",
            "postgres://u:secret%FF@h/d",
            "postgres://u:secret/d",
            "postgres://[secret/d",
            "postgres://[::1]secret/d",
            "postgres://h/d?secret",
            "secret://h/d",
        ] {
            let error = cut(url).unwrap_err();
            assert!(!error.contains("secret") && !error.contains("cret@"), "{url}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_gives_pairs_or_an_error(text in "(postgres://)?\\PC*") {
            let _ = cut(&text);
        }

        #[test]
        fn what_is_encoded_is_read_back(user in "\\PC+", password in "\\PC+", database in "\\PC+") {
            let encoded = |text: &str| -> String {
                text.bytes().map(|byte| format!("%{byte:02X}")).collect()
            };
            let url = format!("postgres://{}:{}@h/{}", encoded(&user), encoded(&password), encoded(&database));
            let expected = [("user", user), ("password", password), ("host", "h".to_owned()), ("dbname", database)];
            prop_assert_eq!(cut(&url).unwrap(), expected.map(|(name, value)| (name.to_owned(), value)));
        }
    }
}
