//! Whom TLS trusts, and by which certificate this client is known: files that people name.
//!
//! - The system's authorities are trusted, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR` instead. A variable that
//!   names nothing that can be read is an error: who set it does not expect to go by other authorities.
//! - Authorities of `--ca-file` are trusted on top, with every server.
//! - A folder `certs.d/HOST[:PORT]` is for one registry, as docker, podman and skopeo read it: `*.crt` are
//!   authorities, `NAME.cert` and `NAME.key` are the client certificate. The first folder of the list in which
//!   there is one for the registry counts. Its authorities are trusted wherever the registry leads, as its token
//!   endpoint and its storage are often signed by the same. The client certificate is shown to the registry's own
//!   host and port only, as it says who the user is: `clients` holds to that.
//!
//! By which algorithms signatures are checked stands in `algorithms`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, Identity};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use crate::setup::SetupError;

/// Whom TLS trusts beside the system's authorities.
#[derive(Clone, Debug, Default)]
pub struct TlsOptions {
    /// Files of authorities, in PEM.
    pub ca_files: Vec<PathBuf>,
    /// Folders with a folder for each registry ([`default_certs_dirs`]).
    pub certs_dirs: Vec<PathBuf>,
    /// Whether every certificate is taken, whoever it is of.
    pub insecure_skip_verify: bool,
}

/// What a folder for one registry holds.
#[derive(Debug, Default)]
pub(crate) struct HostCertificates {
    pub(crate) authorities: Vec<Certificate>,
    /// The client certificate, and its file.
    pub(crate) identity: Option<(Identity, PathBuf)>,
}

/// Where folders for registries are: those of podman and skopeo, then docker's, then those of a docker without
/// root. `get` looks variables up.
pub fn default_certs_dirs(get: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    let set = |name: &str| get(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = set("HOME");
    let config = set("XDG_CONFIG_HOME").or_else(|| Some(home.as_ref()?.join(".config")));
    let dirs = [
        home.map(|home| home.join(".config/containers/certs.d")),
        Some("/etc/containers/certs.d".into()),
        Some("/etc/docker/certs.d".into()),
        config.map(|config| config.join("docker/certs.d")),
    ];
    dirs.into_iter().flatten().collect()
}

/// Looks at the variables by which the system's authorities are replaced, and gives what the system itself does
/// not read. `get` looks variables up.
pub(crate) fn environment(
    get: impl Fn(&str) -> Option<OsString>,
) -> Result<Vec<Certificate>, SetupError> {
    let mut found = Vec::new();
    if let Some(file) = get("SSL_CERT_FILE") {
        let path = PathBuf::from(file);
        found.extend(usable(&read(&path, "SSL_CERT_FILE")?));
        if found.is_empty() {
            return Err(SetupError::NoCertificate { named_by: "SSL_CERT_FILE".to_owned(), path });
        }
    }
    if let Some(dirs) = get("SSL_CERT_DIR") {
        let in_dirs = in_folders(&dirs)?;
        if in_dirs.is_empty() && found.is_empty() {
            let (named_by, path) = ("SSL_CERT_DIR".to_owned(), dirs.into());
            return Err(SetupError::NoCertificate { named_by, path });
        }
        found.extend(in_dirs);
    }
    // Elsewhere the library that finds the system's authorities goes by these variables itself.
    Ok(if cfg!(target_vendor = "apple") { found } else { Vec::new() })
}

/// The authorities of the folders of `SSL_CERT_DIR`. Some of a list may be missing, and not all of their files
/// are certificates.
fn in_folders(dirs: &OsStr) -> Result<Vec<Certificate>, SetupError> {
    let mut found = Vec::new();
    let mut unread = None;
    for dir in std::env::split_paths(dirs).filter(|dir| !dir.as_os_str().is_empty()) {
        match names_in(&dir) {
            Ok(names) => {
                let files = names.iter().map(|name| dir.join(name));
                let read = files.filter_map(|file| std::fs::read(file).ok());
                found.extend(read.flat_map(|pem| usable(&pem)));
            }
            Err(source) => unread = Some((dir, source)),
        }
    }
    match unread {
        Some((path, source)) if found.is_empty() => {
            Err(SetupError::Unreadable { named_by: "SSL_CERT_DIR".to_owned(), path, source })
        }
        _ => Ok(found),
    }
}

/// The authorities of a file that `named_by` names; there has to be one.
pub(crate) fn authorities(path: &Path, named_by: &str) -> Result<Vec<Certificate>, SetupError> {
    let found = usable_in_any_form(&read(path, named_by)?);
    if found.is_empty() {
        let (named_by, path) = (named_by.to_owned(), path.to_owned());
        return Err(SetupError::NoCertificate { named_by, path });
    }
    Ok(found)
}

/// Those certificates that can be authorities. Bundles hold what some library or other cannot read, and Go and
/// the system's own pass over that as well.
fn usable(pem: &[u8]) -> Vec<Certificate> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_slice_iter(pem).filter_map(Result::ok);
    let readable = certificates.filter(|certificate| roots.add(certificate.clone()).is_ok());
    readable.filter_map(|certificate| Certificate::from_der(&certificate).ok()).collect()
}

/// The same of a file that may hold a single certificate in DER, as Windows writes it.
fn usable_in_any_form(bytes: &[u8]) -> Vec<Certificate> {
    let found = usable(bytes);
    let der = CertificateDer::from(bytes).into_owned();
    if found.is_empty() && RootCertStore::empty().add(der).is_ok() {
        return Certificate::from_der(bytes).into_iter().collect();
    }
    found
}

impl HostCertificates {
    /// What there is for the registry that goes by one of `names`, its host first. `None` if no folder is for it.
    pub(crate) fn find(dirs: &[PathBuf], names: &[&str]) -> Result<Option<Self>, SetupError> {
        for dir in dirs {
            for name in names {
                // A name is a host and a port, and has no separator of paths; a wrong one finds nothing.
                let folder = dir.join(name);
                match names_in(&folder) {
                    Ok(files) => return Self::read(&folder, &files).map(Some),
                    // Another user's configuration is none of this one's business: skopeo passes over it.
                    Err(error)
                        if matches!(
                            error.kind(),
                            io::ErrorKind::NotFound
                                | io::ErrorKind::PermissionDenied
                                | io::ErrorKind::NotADirectory
                        ) => {}
                    Err(source) => {
                        let named_by = "certs.d".to_owned();
                        return Err(SetupError::Unreadable { named_by, path: folder, source });
                    }
                }
            }
        }
        Ok(None)
    }

    fn read(folder: &Path, files: &[String]) -> Result<Self, SetupError> {
        let mut found = Self::default();
        let there = |name: &String| files.contains(name);
        for name in files {
            let path = folder.join(name);
            let half = |missing: String| SetupError::HalfIdentity { path: path.clone(), missing };
            match name.rsplit_once('.') {
                // What is no certificate, or a link to nowhere, is passed over, as skopeo does.
                Some((_, "crt")) => match std::fs::read(&path) {
                    Ok(bytes) => found.authorities.extend(usable_in_any_form(&bytes)),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(source) => {
                        let named_by = "certs.d".to_owned();
                        return Err(SetupError::Unreadable { named_by, path, source });
                    }
                },
                Some((stem, "cert")) => {
                    let key = format!("{stem}.key");
                    if !there(&key) {
                        return Err(half(key));
                    }
                    // The first by name: of several, servers do not say which one they want.
                    if found.identity.is_none() {
                        let identity = identity(&path, &folder.join(key))?;
                        found.identity = Some((identity, path));
                    }
                }
                Some((stem, "key")) if !there(&format!("{stem}.cert")) => {
                    return Err(half(format!("{stem}.cert")));
                }
                _ => {}
            }
        }
        Ok(found)
    }
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, SetupError> {
    let mut pem = read(certificate, "certs.d")?;
    // Files need not end in a line's end.
    pem.push(b'\n');
    pem.extend(read(key, "certs.d")?);
    Identity::from_pem(&pem)
        .map_err(|source| SetupError::BadIdentity { path: certificate.to_owned(), source })
}

fn read(path: &Path, named_by: &str) -> Result<Vec<u8>, SetupError> {
    std::fs::read(path).map_err(|source| SetupError::Unreadable {
        named_by: named_by.to_owned(),
        path: path.to_owned(),
        source,
    })
}

/// The names in a folder that are text, in order.
fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = std::fs::read_dir(folder)?;
    let mut names: Vec<String> =
        entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
    names.sort_unstable();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pem(name: &str) -> Vec<u8> {
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tls").join(name)).unwrap()
    }

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        folder
    }

    #[test]
    fn variables_that_name_no_certificate_are_errors_that_name_them() {
        let ca = pem("p521-sha512-ca.crt");
        let folder = folder(&[("ca.pem", &ca), ("empty/README", b"none here"), ("empty.pem", b"")]);
        let at = |name: &str| folder.path().join(name).into_os_string();
        let both = |a: &str, b: &str| std::env::join_paths([at(a), at(b)]).unwrap();
        for (file, dir, says) in [
            (None, None, None),
            (Some(at("ca.pem")), None, None),
            (None, Some(at("")), None),
            (None, Some(both("", "missing")), None),
            (Some(at("ca.pem")), Some(at("empty")), None),
            (Some(at("missing.pem")), None, Some("SSL_CERT_FILE")),
            (Some(OsString::new()), None, Some("SSL_CERT_FILE")),
            (Some(at("empty.pem")), None, Some("SSL_CERT_FILE")),
            (Some(at("missing.pem")), Some(at("")), Some("SSL_CERT_FILE")),
            (None, Some(at("missing")), Some("SSL_CERT_DIR")),
            (None, Some(at("empty")), Some("SSL_CERT_DIR")),
            (None, Some(both("empty", "missing")), Some("SSL_CERT_DIR")),
        ] {
            let get = |name: &str| match name {
                "SSL_CERT_FILE" => file.clone(),
                _ => dir.clone(),
            };
            match (environment(get), says) {
                (Ok(_), None) => {}
                (Err(error), Some(says)) => assert!(error.to_string().starts_with(says), "{error}"),
                (result, _) => panic!("{file:?} {dir:?}: {result:?}"),
            }
        }
    }

    #[test]
    fn a_bundle_is_read_as_far_as_it_can_be() {
        let mut bundle = b"# authorities\n".to_vec();
        bundle.extend(pem("p521-sha512-ca.crt"));
        bundle.extend(b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        bundle.extend(pem("p384-sha512-ca.crt"));
        assert_eq!(usable(&bundle).len(), 2);
    }

    #[test]
    fn a_folder_for_a_registry_is_read_as_docker_and_skopeo_read_it() {
        let (ca, cert, key) = (pem("p521-sha512-ca.crt"), pem("client.crt"), pem("client.key"));
        let der = CertificateDer::from_pem_slice(&ca).unwrap().to_vec();
        let name = "r.example:5000";
        for (files, expected) in [
            (&[("other:5000/ca.crt", &ca[..])][..], Ok(None)),
            (&[("r.example:5000/README", b"")], Ok(Some((0, false)))),
            (&[("r.example:5000/ca.crt", &ca)], Ok(Some((1, false)))),
            (&[("r.example:5000/ca.pem", &ca)], Ok(Some((0, false)))),
            (
                &[
                    ("r.example:5000/a.crt", &ca),
                    ("r.example:5000/b.crt", &ca),
                    ("r.example:5000/me.cert", &cert),
                    ("r.example:5000/me.key", &key),
                ],
                Ok(Some((2, true))),
            ),
            (&[("r.example:5000/me.cert", &cert)], Err("me.key")),
            (&[("r.example:5000/me.key", &key)], Err("me.cert")),
            (&[("r.example:5000/ca.crt", b"no certificate")], Ok(Some((0, false)))),
            (&[("r.example:5000/ca.crt", &der)], Ok(Some((1, false)))),
            (
                &[("r.example:5000/me.cert", &cert), ("r.example:5000/me.key", b"no key")],
                Err("me.cert"),
            ),
        ] {
            let folder = folder(files);
            let dirs = ["/nowhere".into(), folder.path().to_owned()];
            let found = HostCertificates::find(&dirs, &["alias", name]);
            match (found, expected) {
                (Ok(found), Ok(expected)) => {
                    let found =
                        found.map(|found| (found.authorities.len(), found.identity.is_some()));
                    assert_eq!(found, expected, "{files:?}");
                }
                (Err(error), Err(says)) => assert!(error.to_string().contains(says), "{error}"),
                (found, _) => panic!("{files:?}: {found:?}"),
            }
        }
    }

    #[test]
    fn the_first_folder_for_a_registry_counts() {
        let ca = pem("p521-sha512-ca.crt");
        let (first, second) =
            (folder(&[("r.example/none", b"")]), folder(&[("r.example/ca.crt", &ca)]));
        let dirs = [first.path().to_owned(), second.path().to_owned()];
        let found = HostCertificates::find(&dirs, &["r.example"]).unwrap().unwrap();
        assert!(found.authorities.is_empty());
        let found = HostCertificates::find(&dirs[1..], &["r.example"]).unwrap().unwrap();
        assert_eq!(found.authorities.len(), 1);
    }

    #[test]
    fn folders_are_looked_for_where_podman_and_docker_have_them() {
        let get = |name: &str| (name == "HOME").then(|| OsString::from("/home/me"));
        let dirs = default_certs_dirs(get);
        let dirs: Vec<&str> = dirs.iter().map(|dir| dir.to_str().unwrap()).collect();
        assert_eq!(
            dirs,
            [
                "/home/me/.config/containers/certs.d",
                "/etc/containers/certs.d",
                "/etc/docker/certs.d",
                "/home/me/.config/docker/certs.d",
            ]
        );
        assert_eq!(default_certs_dirs(|_| None).len(), 2);
    }
}
