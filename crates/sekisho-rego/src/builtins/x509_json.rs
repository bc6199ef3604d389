//! Certificates in the form that Go's `encoding/json` gives to `x509.Certificate`.

use std::net::IpAddr;

use base64::Engine;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::extensions::{DistributionPointName, GeneralName, ParsedExtension};
use x509_parser::prelude::{X509Certificate, X509Extension};
use x509_parser::x509::X509Name;

use super::civil::Civil;
use super::der::{Der, OID, SEQUENCE};
use super::encoding::STANDARD;
use super::keys::{PublicKey, from_spki};
use super::private_keys::number;
use crate::value::{Object, Value};

/// Members by name.
type Members = Vec<(&'static str, Value)>;

fn object(members: Members) -> Value {
    Value::from(members.into_iter().map(|(key, value)| (Value::from(key), value)).collect::<Object>())
}

/// Bytes as Go writes them.
pub(super) fn base64(bytes: &[u8]) -> Value {
    Value::from(STANDARD.encode(bytes))
}

/// A list; null if it is empty, as Go's nil slice.
fn list(items: Vec<Value>) -> Value {
    if items.is_empty() { Value::Null } else { Value::from(items) }
}

fn texts<'a>(items: impl Iterator<Item = &'a str>) -> Value {
    list(items.map(Value::from).collect())
}

/// The numbers of an object identifier.
fn oid_numbers(text: &str) -> Value {
    Value::from(text.split('.').map(|part| Value::from(part.parse::<i64>().unwrap_or(0))).collect::<Vec<_>>())
}

/// The fields of a name by the last number of their type `2.5.4.x`.
fn name(name: &X509Name) -> Value {
    let all: Vec<(String, String)> = name
        .iter_attributes()
        .map(|attribute| {
            let bytes = attribute.as_slice();
            let text = attribute.as_str().map_or_else(|_| String::from_utf8_lossy(bytes).into_owned(), str::to_owned);
            (attribute.attr_type().to_id_string(), text)
        })
        .collect();
    let of = |oid: &str| texts(all.iter().filter(|(found, _)| found == oid).map(|(_, text)| text.as_str()));
    let one = |oid: &str| {
        let last = all.iter().rev().find(|(found, _)| found == oid);
        Value::from(last.map_or("", |(_, text)| text.as_str()))
    };
    let entry = |(oid, text): &(String, String)| {
        object(vec![("Type", oid_numbers(oid)), ("Value", Value::from(text.as_str()))])
    };
    object(vec![
        ("Country", of("2.5.4.6")),
        ("Organization", of("2.5.4.10")),
        ("OrganizationalUnit", of("2.5.4.11")),
        ("Locality", of("2.5.4.7")),
        ("Province", of("2.5.4.8")),
        ("StreetAddress", of("2.5.4.9")),
        ("PostalCode", of("2.5.4.17")),
        ("SerialNumber", one("2.5.4.5")),
        ("CommonName", one("2.5.4.3")),
        ("Names", list(all.iter().map(entry).collect())),
        ("ExtraNames", Value::Null),
    ])
}

/// Go's number of a signature algorithm.
fn signature_algorithm(oid: &str) -> i64 {
    match oid {
        "1.2.840.113549.1.1.4" => 2,
        "1.2.840.113549.1.1.5" => 3,
        "1.2.840.113549.1.1.11" => 4,
        "1.2.840.113549.1.1.12" => 5,
        "1.2.840.113549.1.1.13" => 6,
        "1.2.840.10045.4.1" => 9,
        "1.2.840.10045.4.3.2" => 10,
        "1.2.840.10045.4.3.3" => 11,
        "1.2.840.10045.4.3.4" => 12,
        "1.2.840.113549.1.1.10" => 13,
        "1.3.101.112" => 16,
        _ => 0,
    }
}

/// Go's number of a key's algorithm, and the key.
fn public_key(spki: &[u8]) -> (i64, Value) {
    match from_spki(spki) {
        Some(PublicKey::Rsa(n, e)) => (1, object(vec![("N", number(&n)), ("E", number(&e))])),
        Some(PublicKey::Ec(curve, point)) => {
            let (x, y) = point.get(1..).and_then(|rest| rest.split_at_checked(curve.size())).unwrap_or_default();
            (3, object(vec![("Curve", Value::empty_object()), ("X", number(x)), ("Y", number(y))]))
        }
        Some(PublicKey::Ed25519(bytes)) => (4, base64(&bytes)),
        _ => (0, Value::Null),
    }
}

fn time(seconds: i64) -> Value {
    let t = Civil::new(seconds, 0);
    Value::from(format!("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", t.year, t.month, t.day, t.hour, t.minute, t.second))
}

fn extensions<'a>(all: impl Iterator<Item = &'a X509Extension<'a>>) -> Value {
    let one = |extension: &X509Extension| {
        object(vec![
            ("Id", oid_numbers(&extension.oid.to_id_string())),
            ("Critical", Value::from(extension.critical)),
            ("Value", base64(extension.value)),
        ])
    };
    list(all.map(one).collect())
}

/// The usages of an extended key usage extension: Go's number for each it has one for.
pub(super) fn extended_usages(value: &[u8]) -> Vec<Option<i64>> {
    let mut usages = Vec::new();
    let mut list = Der { rest: value }.enter(SEQUENCE).unwrap_or(Der { rest: &[] });
    while let Some(oid) = list.take(OID) {
        usages.push(match oid {
            [0x2b, 6, 1, 5, 5, 7, 3, number @ 1..=9] => Some(i64::from(*number)),
            [0x55, 0x1d, 0x25, 0] => Some(0),
            _ => None,
        });
    }
    usages
}

/// The names of a subject alternative name, by kind.
fn alternative_names(names: &[GeneralName], members: &mut Members) {
    let address = |bytes: &[u8]| match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    };
    let (mut dns, mut mail, mut ip, mut uri) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for name in names {
        match name {
            GeneralName::DNSName(text) => dns.push(Value::from(*text)),
            GeneralName::RFC822Name(text) => mail.push(Value::from(*text)),
            GeneralName::URI(text) => uri.push(Value::from(*text)),
            GeneralName::IPAddress(bytes) => ip.extend(address(bytes).map(|ip| Value::from(ip.to_string()))),
            _ => {}
        }
    }
    let urls = uri.iter().filter_map(Value::as_str).map(url).collect();
    members.extend([("DNSNames", list(dns)), ("EmailAddresses", list(mail)), ("IPAddresses", list(ip))]);
    members.extend([("URIs", list(urls)), ("URIStrings", list(uri))]);
}

/// A URI as Go's `url.URL`.
fn url(text: &str) -> Value {
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let host = rest.split('/').next().unwrap_or_default();
    let path = rest.strip_prefix(host).unwrap_or_default();
    let text = |text: &str| Value::from(text);
    object(vec![
        ("Scheme", text(scheme)),
        ("Opaque", text("")),
        ("User", Value::Null),
        ("Host", text(host)),
        ("Path", text(path)),
        ("RawPath", text("")),
        ("OmitHost", Value::from(false)),
        ("ForceQuery", Value::from(false)),
        ("RawQuery", text(query)),
        ("Fragment", text(fragment)),
        ("RawFragment", text("")),
    ])
}

/// What the extensions say, in Go's members.
fn extension_members(certificate: &X509Certificate, members: &mut Members) {
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => members.push(("KeyUsage", Value::from(i64::from(usage.flags)))),
            ParsedExtension::ExtendedKeyUsage(_) => {
                let usages = extended_usages(extension.value).into_iter().flatten().map(Value::from).collect();
                members.push(("ExtKeyUsage", list(usages)));
            }
            ParsedExtension::BasicConstraints(basic) => {
                let length = basic.path_len_constraint.map_or(-1, i64::from);
                members.push(("BasicConstraintsValid", Value::from(true)));
                members.push(("IsCA", Value::from(basic.ca)));
                members.push(("MaxPathLen", Value::from(length)));
                members.push(("MaxPathLenZero", Value::from(length == 0)));
            }
            ParsedExtension::SubjectKeyIdentifier(id) => members.push(("SubjectKeyId", base64(id.0))),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                members.push(("AuthorityKeyId", id.key_identifier.as_ref().map_or(Value::Null, |id| base64(id.0))));
            }
            ParsedExtension::SubjectAlternativeName(san) => alternative_names(&san.general_names, members),
            ParsedExtension::AuthorityInfoAccess(info) => {
                let of = |oid: &str| {
                    texts(
                        info.accessdescs.iter().filter(|access| access.access_method.to_id_string() == oid).filter_map(
                            |access| match &access.access_location {
                                GeneralName::URI(uri) => Some(*uri),
                                _ => None,
                            },
                        ),
                    )
                };
                members.push(("OCSPServer", of("1.3.6.1.5.5.7.48.1")));
                members.push(("IssuingCertificateURL", of("1.3.6.1.5.5.7.48.2")));
            }
            ParsedExtension::CRLDistributionPoints(points) => {
                let names = points.points.iter().filter_map(|point| match &point.distribution_point {
                    Some(DistributionPointName::FullName(names)) => Some(names),
                    _ => None,
                });
                let uris = names.flatten().filter_map(|name| match name {
                    GeneralName::URI(uri) => Some(*uri),
                    _ => None,
                });
                members.push(("CRLDistributionPoints", texts(uris)));
            }
            ParsedExtension::CertificatePolicies(policies) => {
                let all = policies.iter().map(|policy| oid_numbers(&policy.policy_id.to_id_string())).collect();
                members.push(("PolicyIdentifiers", list(all)));
            }
            _ => {}
        }
    }
}

/// The object of a certificate; `extended` adds the URIs as texts.
pub(super) fn certificate(der: &[u8], extended: bool) -> Option<Value> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    let (algorithm, key) = public_key(certificate.public_key().raw);
    let mut members: Members = Vec::new();
    for absent in [
        "AuthorityKeyId",
        "CRLDistributionPoints",
        "DNSNames",
        "EmailAddresses",
        "ExcludedDNSDomains",
        "ExcludedEmailAddresses",
        "ExcludedIPRanges",
        "ExcludedURIDomains",
        "ExtKeyUsage",
        "ExtraExtensions",
        "IPAddresses",
        "IssuingCertificateURL",
        "OCSPServer",
        "PermittedDNSDomains",
        "PermittedEmailAddresses",
        "PermittedIPRanges",
        "PermittedURIDomains",
        "PolicyIdentifiers",
        "SubjectKeyId",
        "URIs",
        "URIStrings",
        "UnhandledCriticalExtensions",
        "UnknownExtKeyUsage",
    ] {
        members.push((absent, Value::Null));
    }
    for flag in ["BasicConstraintsValid", "IsCA", "MaxPathLenZero", "PermittedDNSDomainsCritical"] {
        members.push((flag, Value::from(false)));
    }
    members.extend([("KeyUsage", Value::from(0_i64)), ("MaxPathLen", Value::from(0_i64))]);
    extension_members(&certificate, &mut members);
    members.extend([
        ("Raw", base64(der)),
        ("RawTBSCertificate", base64(certificate.tbs_certificate.as_ref())),
        ("RawSubjectPublicKeyInfo", base64(certificate.public_key().raw)),
        ("RawSubject", base64(certificate.subject().as_raw())),
        ("RawIssuer", base64(certificate.issuer().as_raw())),
        ("Signature", base64(&certificate.signature_value.data)),
        ("SignatureAlgorithm", signature_algorithm(&certificate.signature_algorithm.algorithm.to_id_string()).into()),
        ("PublicKeyAlgorithm", Value::from(algorithm)),
        ("PublicKey", key),
        ("Version", Value::from(i64::from(certificate.version().0) + 1)),
        ("SerialNumber", number(certificate.raw_serial())),
        ("Issuer", name(certificate.issuer())),
        ("Subject", name(certificate.subject())),
        ("NotBefore", time(certificate.validity().not_before.timestamp())),
        ("NotAfter", time(certificate.validity().not_after.timestamp())),
        ("Extensions", extensions(certificate.extensions().iter())),
    ]);
    if !extended {
        members.retain(|(key, _)| *key != "URIStrings");
    }
    // Later members replace earlier ones of the same name.
    let mut out = Object::default();
    for (key, value) in members {
        out.insert(Value::from(key), value);
    }
    Some(Value::from(out))
}

/// The object of a certificate request.
pub(super) fn request(request: &X509CertificationRequest) -> Value {
    let info = &request.certification_request_info;
    let (algorithm, key) = public_key(info.subject_pki.raw);
    let mut members: Members = vec![
        ("Version", Value::from(i64::from(info.version.0))),
        ("Raw", base64(request.as_raw())),
        ("RawTBSCertificateRequest", base64(info.raw)),
        ("RawSubjectPublicKeyInfo", base64(info.subject_pki.raw)),
        ("RawSubject", base64(info.subject.as_raw())),
        ("Signature", base64(&request.signature_value.data)),
        ("SignatureAlgorithm", signature_algorithm(&request.signature_algorithm.algorithm.to_id_string()).into()),
        ("PublicKeyAlgorithm", Value::from(algorithm)),
        ("PublicKey", key),
        ("Subject", name(&info.subject)),
        ("Attributes", Value::Null),
        ("Extensions", Value::Null),
        ("ExtraExtensions", Value::Null),
        ("DNSNames", Value::Null),
        ("EmailAddresses", Value::Null),
        ("IPAddresses", Value::Null),
        ("URIs", Value::Null),
    ];
    for extension in request.requested_extensions().into_iter().flatten() {
        if let ParsedExtension::SubjectAlternativeName(san) = extension {
            alternative_names(&san.general_names, &mut members);
        }
    }
    let mut out = Object::default();
    for (key, value) in members.into_iter().filter(|(key, _)| *key != "URIStrings") {
        out.insert(Value::from(key), value);
    }
    Value::from(out)
}
