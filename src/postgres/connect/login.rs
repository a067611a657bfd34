//! Logs in by the methods that the URL allows.
//!
//! ```text
//! startup --> the server asks: nothing | SCRAM | MD5 | password --permitted?--> answer --> ready
//! ```
//!
//! If a server asks for the password, or for anything as good as it, the program answers only if
//! the URL allows it: the server may be an impostor.

use std::io;

use bytes::BytesMut;
use fallible_iterator::FallibleIterator;
use postgres_protocol::{
    authentication::{
        md5_hash,
        sasl::{self, SCRAM_SHA_256, SCRAM_SHA_256_PLUS, ScramSha256},
    },
    message::{backend::Message, frontend},
};

use super::{
    ChannelBinding, ConnectError, Server, SourceUrl,
    passfile::{self, Login},
    raw::{RawConnection, RawError},
    socket::Encryption,
};

/// The purpose of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// SQL.
    Sql,
    /// The walsender's commands.
    Replication,
}

/// The server's request.
enum Asked {
    Nothing,
    Password,
    Md5([u8; 4]),
    Scram(Vec<String>),
}

/// Logs in on a newly opened connection.
pub async fn log_in(
    connection: &mut RawConnection,
    url: &SourceUrl,
    server: &Server,
    purpose: Purpose,
    encryption: &Encryption,
) -> Result<(), ConnectError> {
    if let (None, Some(path)) = (&url.password, &url.passfile) {
        passfile::warn_of_readers(path);
    }
    start(connection, url, purpose).await.map_err(|error| connection.refused(error))?;
    let asked = match connection.receive().await.map_err(|error| connection.refused(error))? {
        Message::AuthenticationOk => Asked::Nothing,
        Message::AuthenticationCleartextPassword => Asked::Password,
        Message::AuthenticationMd5Password(body) => Asked::Md5(body.salt()),
        Message::AuthenticationSasl(body) => {
            let mechanisms = body.mechanisms().map(|name| Ok(name.to_owned())).collect();
            Asked::Scram(mechanisms.map_err(|error| connection.broken(&error))?)
        }
        _ => {
            let what = "it asks for an authentication method other than SCRAM, MD5 and password";
            return Err(connection.denied(what));
        }
    };
    permit(connection, url, &asked, encryption)?;
    let answered = match asked {
        Asked::Nothing => Ok(()),
        Asked::Password => {
            let password = password(connection, url, server)?;
            give_password(connection, password.as_bytes()).await
        }
        Asked::Md5(salt) => {
            let password = password(connection, url, server)?;
            let hash = md5_hash(url.user.as_bytes(), password.as_bytes(), salt);
            give_password(connection, hash.as_bytes()).await
        }
        Asked::Scram(mechanisms) => {
            let binding = binding(url, &mechanisms, encryption);
            let password = password(connection, url, server)?;
            return scram(connection, password.as_bytes(), binding).await;
        }
    };
    answered.map_err(|error| connection.refused(error))
}

async fn start(
    connection: &mut RawConnection,
    url: &SourceUrl,
    purpose: Purpose,
) -> Result<(), RawError> {
    let mut parameters = vec![
        ("user", url.user.as_str()),
        ("database", url.database()),
        ("options", &url.options),
        ("client_encoding", "UTF8"),
        ("application_name", &url.application_name),
    ];
    if purpose == Purpose::Replication {
        parameters.push(("replication", "database"));
    }
    let mut message = BytesMut::new();
    frontend::startup_message(parameters, &mut message)?;
    Ok(connection.send(&mut message).await?)
}

/// Refuses a method that the URL does not allow, before it answers anything.
fn permit(
    connection: &RawConnection,
    url: &SourceUrl,
    asked: &Asked,
    encryption: &Encryption,
) -> Result<(), ConnectError> {
    let allowed = &url.authentication;
    let (method, permitted) = match asked {
        Asked::Nothing => ("none", allowed.none),
        Asked::Password => ("password", allowed.password),
        Asked::Md5(_) => ("md5", allowed.md5),
        Asked::Scram(_) => ("scram-sha-256", allowed.scram),
    };
    if !permitted && matches!(method, "password" | "md5") {
        return Err(ConnectError::WeakAuthentication { server: connection.server.clone(), method });
    }
    if !permitted {
        let what = format!(
            "it asks for {method} authentication, and require_auth in the URL does not name that"
        );
        return Err(connection.denied(what));
    }
    if allowed.binding != ChannelBinding::Require {
        return Ok(());
    }
    match (asked, encryption) {
        (_, Encryption::None) => Err(connection
            .denied("channel_binding=require needs TLS: use sslmode=require or verify-full")),
        (Asked::Scram(mechanisms), Encryption::Tls { end_point: Some(_) })
            if offers(mechanisms, SCRAM_SHA_256_PLUS) =>
        {
            Ok(())
        }
        _ => Err(connection.denied(format!(
            "channel_binding=require needs SCRAM-SHA-256-PLUS, and it asks for {method} without it"
        ))),
    }
}

fn offers(mechanisms: &[String], name: &str) -> bool {
    mechanisms.iter().any(|mechanism| mechanism == name)
}

/// The password of the URL, or the one in the password file, which is read again each time.
fn password(
    connection: &RawConnection,
    url: &SourceUrl,
    server: &Server,
) -> Result<String, ConnectError> {
    if let Some(password) = &url.password {
        return Ok(password.clone());
    }
    let (database, user) = (url.database(), url.user.as_str());
    let login = Login { host: &server.name_in_passfile(), port: server.port, database, user };
    let found = url.passfile.as_ref().map(|path| passfile::password(path, &login));
    let asks = "it asks for a password, and neither the URL nor PGPASSWORD";
    match (found, &url.passfile) {
        (Some(Ok(Some(password))), _) => Ok(password),
        (Some(Err(error)), _) => {
            Err(connection.without_password(format!("{asks} has one. {error}")))
        }
        (_, Some(path)) => {
            Err(connection
                .without_password(format!("{asks} nor {} has one for it", path.display())))
        }
        (_, None) => Err(connection.without_password(format!("{asks} has one"))),
    }
}

async fn give_password(connection: &mut RawConnection, password: &[u8]) -> Result<(), RawError> {
    let mut reply = BytesMut::new();
    frontend::password_message(password, &mut reply)?;
    connection.send(&mut reply).await?;
    match connection.receive().await? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(unexpected("after the password").into()),
    }
}

/// The mechanism, and its channel binding.
fn binding(
    url: &SourceUrl,
    mechanisms: &[String],
    encryption: &Encryption,
) -> (&'static str, sasl::ChannelBinding) {
    use sasl::ChannelBinding as Sasl;
    let wanted = url.authentication.binding != ChannelBinding::Disable;
    match encryption {
        Encryption::Tls { end_point: Some(hash) } if wanted => {
            match offers(mechanisms, SCRAM_SHA_256_PLUS) {
                true => (SCRAM_SHA_256_PLUS, Sasl::tls_server_end_point(hash.clone())),
                // The server checks this: if it did offer channel binding, an attacker between us
                // removed the offer.
                false => (SCRAM_SHA_256, Sasl::unrequested()),
            }
        }
        _ => (SCRAM_SHA_256, Sasl::unsupported()),
    }
}

async fn scram(
    connection: &mut RawConnection,
    password: &[u8],
    (mechanism, binding): (&'static str, sasl::ChannelBinding),
) -> Result<(), ConnectError> {
    let mut scram = ScramSha256::new(password, binding);
    let mut message = BytesMut::new();
    let first = frontend::sasl_initial_response(mechanism, scram.message(), &mut message);
    first.map_err(|error| connection.broken(&error))?;
    let asked = exchange(connection, &mut message).await;
    match asked.map_err(|error| connection.refused(error))? {
        Message::AuthenticationSaslContinue(body) => scram.update(body.data()),
        _ => Err(unexpected("in the middle of SCRAM")),
    }
    .map_err(|error| connection.denied(error.to_string()))?;
    let second = frontend::sasl_response(scram.message(), &mut message);
    second.map_err(|error| connection.broken(&error))?;
    let proved = exchange(connection, &mut message).await;
    match proved.map_err(|error| connection.refused(error))? {
        // A server that can not prove that it knows the password is not the right one.
        Message::AuthenticationSaslFinal(body) => scram.finish(body.data()),
        _ => Err(unexpected("at the end of SCRAM")),
    }
    .map_err(|error| connection.denied(error.to_string()))?;
    match connection.receive().await.map_err(|error| connection.refused(error))? {
        Message::AuthenticationOk => Ok(()),
        _ => Err(connection.broken(&unexpected("after SCRAM"))),
    }
}

async fn exchange(
    connection: &mut RawConnection,
    message: &mut BytesMut,
) -> Result<Message, RawError> {
    connection.send(message).await?;
    connection.receive().await
}

fn unexpected(when: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("an unexpected message {when}"))
}
