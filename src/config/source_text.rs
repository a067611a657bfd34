//! The source's URL in the form for a file: complete, without a password.
//!
//! ```text
//! URL as given, less every password, and what the PG* variables said where it said nothing
//! ```

/// Parameters of a URL, and libpq's variable for each. Passwords are not among them.
const FROM_ENVIRONMENT: [(&str, &str); 13] = [
    ("host", "PGHOST"),
    ("hostaddr", "PGHOSTADDR"),
    ("port", "PGPORT"),
    ("user", "PGUSER"),
    ("dbname", "PGDATABASE"),
    ("sslmode", "PGSSLMODE"),
    ("sslrootcert", "PGSSLROOTCERT"),
    ("sslcert", "PGSSLCERT"),
    ("sslkey", "PGSSLKEY"),
    ("sslnegotiation", "PGSSLNEGOTIATION"),
    ("channel_binding", "PGCHANNELBINDING"),
    ("require_auth", "PGREQUIREAUTH"),
    ("connect_timeout", "PGCONNECT_TIMEOUT"),
];

/// Parameters that hold a secret.
const SECRETS: [&str; 2] = ["password", "sslpassword"];

/// The URL for a file. `url` must be valid.
pub fn for_a_file(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let (scheme, rest) = base.split_once("://").unwrap_or(("postgres", base));
    let (login, place) = rest.split_once('@').map_or(("", rest), |(login, place)| (login, place));
    let user = login.split_once(':').map_or(login, |(user, _)| user);
    let (hosts, database) = place.split_once('/').unwrap_or((place, ""));
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs: Vec<&str> = pairs.filter(|pair| !SECRETS.contains(&name_of(pair))).collect();
    let says = |name: &str| {
        let in_base = match name {
            // An address replaces the name.
            "host" | "hostaddr" => !hosts.is_empty(),
            "port" => hosts.rsplit(']').next().is_some_and(|it| it.contains(':')),
            "user" => !user.is_empty(),
            "dbname" => !database.is_empty(),
            _ => false,
        };
        in_base || pairs.iter().any(|pair| name_of(pair) == name)
    };
    let found =
        FROM_ENVIRONMENT.iter().filter(|(name, _)| !says(name)).filter_map(|(name, variable)| {
            let value = environment(variable).filter(|value| !value.is_empty())?;
            Some(format!("{name}={}", encode(&value)))
        });
    let parameters: Vec<String> =
        pairs.iter().map(|pair| (*pair).to_owned()).chain(found).collect();
    let login = if user.is_empty() { String::new() } else { format!("{user}@") };
    let query =
        if parameters.is_empty() { String::new() } else { format!("?{}", parameters.join("&")) };
    format!("{scheme}://{login}{place}{query}")
}

fn name_of(pair: &str) -> &str {
    pair.split_once('=').map_or(pair, |(name, _)| name)
}

/// Percent-encodes every character with a meaning in a URL.
fn encode(value: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/".contains(&byte);
    let encoded = value.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}

#[cfg(test)]
mod tests {
    use super::for_a_file;

    #[test]
    fn settings_and_hosts_stay_and_passwords_go() {
        for (url, written) in [
            (
                "postgres://cdc@localhost:5552/shop?sslmode=verify-full&sslrootcert=ca.pem&channel_binding=require",
                "postgres://cdc@localhost:5552/shop?sslmode=verify-full&sslrootcert=ca.pem&channel_binding=require",
            ),
            (
                "postgres://cdc:secret@a:1,b:2/shop?sslmode=require&password=secret&sslpassword=secret",
                "postgres://cdc@a:1,b:2/shop?sslmode=require",
            ),
            ("postgres://cdc:secret@%2Frun%2Fpg/shop", "postgres://cdc@%2Frun%2Fpg/shop"),
            ("postgres://cdc@[::1]/shop", "postgres://cdc@[::1]/shop"),
        ] {
            assert_eq!(for_a_file(url, &|_| None), written);
        }
    }

    #[test]
    fn what_the_environment_says_is_written_down() {
        let environment = |name: &str| {
            let value = match name {
                "PGHOST" => "/run/pg dir",
                "PGPORT" => "7",
                "PGUSER" => "env",
                "PGPASSWORD" => "secret",
                "PGDATABASE" => "shop",
                "PGSSLMODE" => "verify-full",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let written = for_a_file("postgres://", &environment);
        assert_eq!(
            written,
            "postgres://?host=/run/pg%20dir&port=7&user=env&dbname=shop&sslmode=verify-full"
        );
        let written = for_a_file("postgres://u@h:1/d?sslmode=require", &environment);
        assert_eq!(written, "postgres://u@h:1/d?sslmode=require");
    }
}
