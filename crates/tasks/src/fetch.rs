//! The I/O task: an HTTP GET that waits, and says in one line what went wrong.

use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

use ureq::config::Config;
use ureq::http::{StatusCode, Uri};
use ureq::tls::{RootCerts, TlsConfig};
use ureq::{Error, Proxy, Timeout};

use crate::measure::short;

/// How long to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeOuts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// Until the whole text is here: look-up of the name, connection, redirects and body.
    pub total: Duration,
}

impl Default for TimeOuts {
    /// 5 s and 10 s: a server at the other end of the world needs a tenth of that.
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(10) }
    }
}

/// Gets a page over a connection of its own and returns the length of its text in characters,
/// which is what Python's `len(response.text)` counts.
///
/// `https` trusts the roots that Mozilla trusts. Redirects are followed. A status of 400 and
/// above is an error, and so is a text of over 10 MB.
pub fn get(url: &str, time_outs: TimeOuts) -> Result<usize, FetchError> {
    get_trusting(RootCerts::WebPki, url, time_outs)
}

fn get_trusting(roots: RootCerts, url: &str, time_outs: TimeOuts) -> Result<usize, FetchError> {
    let config = Config::builder()
        .timeout_connect(Some(time_outs.connect))
        .timeout_global(Some(time_outs.total))
        .tls_config(TlsConfig::builder().root_certs(roots).build())
        // The proxy that the environment names is for the world outside.
        .proxy(if is_this_machine(url) { None } else { Proxy::try_from_env() })
        .build();
    check_url(url)
        .map_err(Error::BadUri)
        .and_then(|()| config.new_agent().get(url).call())
        .and_then(|mut response| response.body_mut().read_to_string())
        .map(|text| text.chars().count())
        .map_err(|error| FetchError {
            url: url.into(),
            cause: in_words(&error, time_outs),
            error,
        })
}

/// Whether [`get`] understands a URL; if not, why. For flags: a bad one is found before any
/// work begins.
pub fn check_url(url: &str) -> Result<(), String> {
    let scheme = url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
    if !matches!(scheme.as_deref(), Some("http" | "https")) {
        return Err("it begins with neither http:// nor https://".into());
    }
    let uri: Uri = url.parse().map_err(|error| format!("{error}"))?;
    let authority = uri.authority().filter(|authority| !authority.host().is_empty());
    let authority = authority.ok_or("it names no host")?;
    // A port that is no port reads as none: the request would go to port 80.
    let host_and_port = authority.as_str().rsplit('@').next();
    if authority.port().is_none() && host_and_port != Some(authority.host()) {
        return Err("its port is no whole number from 0 to 65535".into());
    }
    Ok(())
}

fn is_this_machine(url: &str) -> bool {
    let uri = url.parse::<Uri>().ok();
    uri.as_ref().and_then(Uri::host).is_some_and(|host| {
        let address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>();
        host == "localhost" || address.is_ok_and(|address| address.is_loopback())
    })
}

/// One line that names the URL and the cause: `GET http://127.0.0.1:1/: connection refused`.
#[derive(Debug, thiserror::Error)]
#[error("GET {}: {cause}", url.escape_debug())]
pub struct FetchError {
    /// What was asked for, as it was given.
    pub url: String,
    /// What the HTTP client says. It is in the line already and therefore no `source`, which a
    /// chain of causes would repeat.
    pub error: Error,
    cause: String,
}

fn in_words(error: &Error, time_outs: TimeOuts) -> String {
    match error {
        Error::BadUri(why) => format!("bad URL: {why}"),
        Error::Io(e) if e.kind() == ErrorKind::ConnectionRefused => e.kind().to_string(),
        // rustls wraps its errors so.
        Error::Io(e) if e.kind() == ErrorKind::InvalidData => format!("TLS failed: {e}"),
        Error::Io(e) => e.to_string(),
        Error::StatusCode(code) => {
            StatusCode::from_u16(*code).map_or_else(|_| code.to_string(), |s| s.to_string())
        }
        Error::Timeout(Timeout::Connect) => {
            format!("no connection within {}", short(time_outs.connect))
        }
        Error::Timeout(_) => format!("no answer within {}", short(time_outs.total)),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error as _;
    use std::io::{BufRead, BufReader, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::process::Command;
    use std::sync::Arc;
    use std::thread;

    use rcgen::{CertifiedKey, generate_simple_self_signed};
    use rustls::pki_types::PrivateKeyDer;
    use rustls::{ServerConfig, ServerConnection, StreamOwned};
    use ureq::tls::Certificate;

    use super::*;
    use crate::web::{Server, TEXT};

    /// Short, for what never answers; long enough for a loaded machine where an answer comes.
    const SHORT: TimeOuts =
        TimeOuts { connect: Duration::from_millis(100), total: Duration::from_millis(200) };
    const LONG: TimeOuts =
        TimeOuts { connect: Duration::from_secs(30), total: Duration::from_secs(30) };

    /// The line that an error prints.
    fn failure(url: &str, time_outs: TimeOuts) -> String {
        let error = get(url, time_outs).expect_err(url);
        assert_eq!(error.url, url);
        assert!(error.source().is_none(), "the line has said it");
        error.to_string()
    }

    /// The system accepts its connections, and nobody answers them.
    fn silent_listener() -> (TcpListener, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        (listener, address)
    }

    #[test]
    fn the_length_of_the_text_arrives() {
        let web = Server::start(Duration::ZERO).unwrap();
        assert_eq!(get(&web.url(), LONG).unwrap(), TEXT.len());
    }

    #[test]
    fn a_status_that_is_no_success_is_named() {
        let web = Server::start(Duration::ZERO).unwrap();
        let url = web.url() + "nothing";
        assert_eq!(failure(&url, LONG), format!("GET {url}: 404 Not Found"));
    }

    #[test]
    fn a_refused_connection_is_named() {
        // The port of a client is taken, and nobody listens there.
        let (_listener, address) = silent_listener();
        let client = TcpStream::connect(address).unwrap();
        let address = client.local_addr().unwrap();
        let url = format!("http://{address}/");
        assert_eq!(failure(&url, LONG), format!("GET {url}: connection refused"));
    }

    #[test]
    fn a_host_that_does_not_exist_is_named() {
        // RFC 6761 promises that no name below `.invalid` resolves. The words are the system's.
        let line = failure("http://no-such-host.invalid/", LONG);
        assert!(line.starts_with("GET http://no-such-host.invalid/: "), "{line}");
        assert_eq!(line.lines().count(), 1);
    }

    #[test]
    fn a_server_that_never_answers_is_left_after_the_total_time() {
        let (_listener, address) = silent_listener();
        let url = format!("http://{address}/");
        assert_eq!(failure(&url, SHORT), format!("GET {url}: no answer within 200 ms"));
    }

    #[test]
    fn a_server_that_never_ends_the_hand_shake_is_left_after_the_connect_time() {
        let (_listener, address) = silent_listener();
        let url = format!("https://{address}/");
        assert_eq!(failure(&url, SHORT), format!("GET {url}: no connection within 100 ms"));
    }

    #[test]
    fn a_bad_url_is_told_what_is_wrong() {
        const SCHEME: &str = "it begins with neither http:// nor https://";
        const PORT: &str = "its port is no whole number from 0 to 65535";
        for (url, why) in [
            ("", SCHEME),
            ("www.example.com", SCHEME),
            ("http", SCHEME),
            ("ftp://example.com/", SCHEME),
            ("http://", "empty string"),
            ("https:///path", "invalid format"),
            ("http://:80/", "it names no host"),
            ("http://two words/", "invalid uri character"),
            ("http://127.0.0.1:65536/", PORT),
            ("http://user@127.0.0.1:http/", PORT),
            ("http://[::1]:/", PORT),
        ] {
            assert_eq!(failure(url, LONG), format!("GET {url}: bad URL: {why}"));
        }
        // One line, whatever the URL.
        let two_lines = "GET http://two\\nlines/: bad URL: invalid uri character";
        assert_eq!(failure("http://two\nlines/", LONG), two_lines);

        for url in ["http://a", "HTTPS://a:1/b?c#d", "http://user:word@[::1]:65535/"] {
            assert_eq!(check_url(url), Ok(()), "{url}");
        }
    }

    #[test]
    fn a_proxy_is_not_asked_for_this_machine() {
        for url in ["http://localhost/", "http://127.0.0.1:80/", "https://[::1]/"] {
            assert!(is_this_machine(url), "{url}");
        }
        for url in ["https://www.example.com/", "http://128.0.0.1/", "http://[::2]/", ""] {
            assert!(!is_this_machine(url), "{url}");
        }
        // A test of this file, in an environment that names a proxy that does not exist.
        let program = std::env::current_exe().unwrap();
        let test = ["--exact", "fetch::tests::the_length_of_the_text_arrives"];
        let run =
            Command::new(program).args(test).env("http_proxy", "http://127.0.0.1:1").output();
        let stdout = String::from_utf8(run.unwrap().stdout).unwrap();
        assert!(stdout.contains("1 passed"), "{stdout}");
    }

    /// A server with a certificate of its own making answers one connection over TLS. Returns
    /// its URL and the certificate.
    fn tls_server() -> (String, Certificate<'static>) {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let (listener, address) = silent_listener();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = BufReader::new(StreamOwned::new(connection, stream));
            // A client that refuses the certificate ends this thread here.
            while stream.read_line(&mut String::new()).unwrap_or(0) > 2 {}
            stream
                .get_mut()
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")
                .ok();
        });
        (format!("https://{address}/"), Certificate::from_der(cert.der()).to_owned())
    }

    #[test]
    fn https_works_with_a_certificate_that_is_trusted() {
        let (url, certificate) = tls_server();
        let roots = RootCerts::new_with_certs(&[certificate]);
        assert_eq!(get_trusting(roots, &url, LONG).unwrap(), "secret".len());
    }

    #[test]
    fn a_certificate_that_nobody_vouches_for_is_refused() {
        let (url, _) = tls_server();
        let why = "TLS failed: invalid peer certificate: UnknownIssuer";
        assert_eq!(failure(&url, LONG), format!("GET {url}: {why}"));
    }

    #[test]
    fn a_server_that_speaks_no_tls_is_named() {
        let web = Server::start(Duration::ZERO).unwrap();
        let url = web.url().replace("http:", "https:");
        let why = "TLS failed: received corrupt message of type InvalidContentType";
        assert_eq!(failure(&url, LONG), format!("GET {url}: {why}"));
    }
}
