//! Chains of certificates: the first is the root, the last is the leaf, those between are intermediates.

use std::net::IpAddr;

use aws_lc_rs::signature::{self, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::X509Certificate;

use super::context::{BuiltinError, Context, failure};
use super::keys::{Curve, PublicKey, from_spki};
use super::operand::{items, small};
use super::x509_json::extended_usages;
use crate::value::{Object, Value};

/// Work of one signature.
const VERIFY_WORK: usize = 100_000;
/// The longest chain.
const MAX_CHAIN: usize = 10;

/// What a chain must meet.
pub(super) struct Options {
    dns_name: String,
    seconds: i64,
    /// Go's numbers of the usages, one of which each certificate must allow.
    usages: Vec<i64>,
}

const USAGES: [&str; 14] = [
    "KeyUsageAny",
    "KeyUsageServerAuth",
    "KeyUsageClientAuth",
    "KeyUsageCodeSigning",
    "KeyUsageEmailProtection",
    "KeyUsageIPSECEndSystem",
    "KeyUsageIPSECTunnel",
    "KeyUsageIPSECUser",
    "KeyUsageTimeStamping",
    "KeyUsageOCSPSigning",
    "KeyUsageMicrosoftServerGatedCrypto",
    "KeyUsageNetscapeServerGatedCrypto",
    "KeyUsageMicrosoftCommercialCodeSigning",
    "KeyUsageMicrosoftKernelCodeSigning",
];

impl Options {
    pub(super) fn new(now_ns: i64) -> Options {
        Options { dns_name: String::new(), seconds: now_ns.div_euclid(1_000_000_000), usages: vec![1] }
    }

    pub(super) fn read(now_ns: i64, object: &Object) -> Result<Options, BuiltinError> {
        let mut options = Options::new(now_ns);
        for (key, value) in object.iter() {
            let wrong = |what: &str| failure(format!("{key} should be {what}").replace('"', "'"));
            let number = || value.as_number().ok_or_else(|| wrong("a number"));
            match key.as_str() {
                Some("DNSName") => {
                    options.dns_name = value.as_str().ok_or_else(|| wrong("a string"))?.trim_matches('"').to_owned();
                }
                Some("CurrentTime") => {
                    let nanoseconds = small(number()?).ok_or_else(|| wrong("a valid int64 number"))?;
                    options.seconds = nanoseconds.div_euclid(1_000_000_000);
                }
                Some("MaxConstraintComparisons") => {
                    small(number()?).ok_or_else(|| wrong("a valid number"))?;
                }
                Some("KeyUsages") => {
                    let names = items(value).ok_or_else(|| wrong("an Array or Set"))?;
                    options.usages = names.iter().filter_map(Value::as_str).map(usage).collect::<Result<_, _>>()?;
                }
                Some(_) => return Err(failure("invalid key option")),
                None => {}
            }
        }
        if options.usages.is_empty() {
            options.usages.push(1);
        }
        Ok(options)
    }
}

fn usage(name: &str) -> Result<i64, BuiltinError> {
    let at = USAGES.iter().position(|known| *known == name.trim_matches('"'));
    at.and_then(|at| i64::try_from(at).ok())
        .ok_or_else(|| failure(format!("invalid entries for 'KeyUsages' found: [{name}]")))
}

/// The chain from the leaf to the root, if there is one that meets the options.
pub(super) fn verified_chain(
    cx: &mut Context,
    ders: &[Vec<u8>],
    options: &Options,
) -> Result<Option<Vec<Vec<u8>>>, BuiltinError> {
    let parsed: Option<Vec<X509Certificate>> =
        ders.iter().map(|der| Some(x509_parser::parse_x509_certificate(der).ok()?.1)).collect();
    let Some(parsed) = parsed.filter(|parsed| parsed.len() >= 2) else {
        return Ok(None);
    };
    let leaf = parsed.len() - 1;
    let Some(certificate) = parsed.get(leaf) else { return Ok(None) };
    if !options.dns_name.is_empty() && !names(certificate, &options.dns_name) {
        return Ok(None);
    }
    let mut path = vec![leaf];
    let found = extend(cx, &parsed, &mut path, options, &options.usages)?;
    Ok(found.then(|| path.iter().filter_map(|index| ders.get(*index).cloned()).collect()))
}

/// Extends the path by issuers until it ends with the root.
fn extend(
    cx: &mut Context,
    all: &[X509Certificate],
    path: &mut Vec<usize>,
    options: &Options,
    usages: &[i64],
) -> Result<bool, BuiltinError> {
    let Some(child) = path.last().and_then(|index| all.get(*index)) else {
        return Ok(false);
    };
    let usages = allowed_usages(child, usages);
    if usages.is_empty() || !is_usable(child, options) || path.len() > MAX_CHAIN {
        return Ok(false);
    }
    for (index, issuer) in all.iter().enumerate() {
        if path.contains(&index) || issuer.subject().as_raw() != child.issuer().as_raw() {
            continue;
        }
        cx.spend(VERIFY_WORK)?;
        if !may_sign(issuer, path.len() - 1, index == 0) || !signed_by(child, issuer) {
            continue;
        }
        path.push(index);
        let ends = index == 0 && is_usable(issuer, options) && !allowed_usages(issuer, &usages).is_empty();
        if ends || index != 0 && extend(cx, all, path, options, &usages)? {
            return Ok(true);
        }
        path.pop();
    }
    Ok(false)
}

/// Is it valid at the time, and without critical extensions that are not checked here?
fn is_usable(certificate: &X509Certificate, options: &Options) -> bool {
    let validity = certificate.validity();
    if options.seconds < validity.not_before.timestamp() || options.seconds > validity.not_after.timestamp() {
        return false;
    }
    if certificate.signature_algorithm != certificate.tbs_certificate.signature {
        return false;
    }
    certificate.extensions().iter().all(|extension| match extension.parsed_extension() {
        // Constraints of names are not evaluated here, so the chain is refused.
        ParsedExtension::ParseError { .. } | ParsedExtension::NameConstraints(_) => false,
        ParsedExtension::BasicConstraints(_)
        | ParsedExtension::ExtendedKeyUsage(_)
        | ParsedExtension::KeyUsage(_)
        | ParsedExtension::SubjectAlternativeName(_)
        | ParsedExtension::CertificatePolicies(_) => true,
        _ => !extension.critical,
    })
}

/// The usages that a certificate allows among those that the chain below it allows.
fn allowed_usages(certificate: &X509Certificate, usages: &[i64]) -> Vec<i64> {
    let mut allowed = usages.to_vec();
    for extension in certificate.extensions() {
        if matches!(extension.parsed_extension(), ParsedExtension::ExtendedKeyUsage(_)) {
            let named = extended_usages(extension.value);
            allowed.retain(|usage| *usage == 0 || named.contains(&Some(*usage)) || named.contains(&Some(0)));
        }
    }
    allowed
}

/// May it issue certificates, with so many intermediates below it? Version 1 has no extensions to say so: only a
/// root may be of it.
fn may_sign(issuer: &X509Certificate, below: usize, is_root: bool) -> bool {
    let mut is_authority = is_root && issuer.version().0 < 2;
    for extension in issuer.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::BasicConstraints(basic) => {
                let short = basic.path_len_constraint.is_none_or(|length| below <= length as usize);
                is_authority = basic.ca && short;
            }
            ParsedExtension::KeyUsage(usage) if !usage.key_cert_sign() => return false,
            _ => {}
        }
    }
    is_authority
}

fn signed_by(child: &X509Certificate, issuer: &X509Certificate) -> bool {
    let Some(key) = from_spki(issuer.public_key().raw) else {
        return false;
    };
    let algorithm = child.signature_algorithm.algorithm.to_id_string();
    let (message, signature): (&[u8], &[u8]) = (child.tbs_certificate.as_ref(), &child.signature_value.data);
    match key {
        PublicKey::Rsa(n, e) => {
            let parameters: &RsaParameters = match algorithm.as_str() {
                "1.2.840.113549.1.1.11" => &signature::RSA_PKCS1_2048_8192_SHA256,
                "1.2.840.113549.1.1.12" => &signature::RSA_PKCS1_2048_8192_SHA384,
                "1.2.840.113549.1.1.13" => &signature::RSA_PKCS1_2048_8192_SHA512,
                _ => return false,
            };
            RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).is_ok()
        }
        PublicKey::Ec(curve, point) => {
            let algorithm: &'static dyn VerificationAlgorithm = match (algorithm.as_str(), curve) {
                ("1.2.840.10045.4.3.2", Curve::P256) => &signature::ECDSA_P256_SHA256_ASN1,
                ("1.2.840.10045.4.3.3", Curve::P256) => &signature::ECDSA_P256_SHA384_ASN1,
                ("1.2.840.10045.4.3.2", Curve::P384) => &signature::ECDSA_P384_SHA256_ASN1,
                ("1.2.840.10045.4.3.3", Curve::P384) => &signature::ECDSA_P384_SHA384_ASN1,
                ("1.2.840.10045.4.3.4", Curve::P521) => &signature::ECDSA_P521_SHA512_ASN1,
                _ => return false,
            };
            UnparsedPublicKey::new(algorithm, point).verify(message, signature).is_ok()
        }
        PublicKey::Ed25519(bytes) => {
            algorithm == "1.3.101.112"
                && UnparsedPublicKey::new(&signature::ED25519, bytes).verify(message, signature).is_ok()
        }
        _ => false,
    }
}

/// Does a certificate name a host? A `*` stands for the first label.
fn names(certificate: &X509Certificate, host: &str) -> bool {
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let matches = |name: &GeneralName| match (name, address) {
        (GeneralName::IPAddress(bytes), Some(IpAddr::V4(ip))) => **bytes == ip.octets(),
        (GeneralName::IPAddress(bytes), Some(IpAddr::V6(ip))) => **bytes == ip.octets(),
        (GeneralName::DNSName(pattern), None) => {
            let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
            match pattern.strip_prefix("*.") {
                Some(suffix) => host.split_once('.').is_some_and(|(_, rest)| rest == suffix),
                None => host == pattern,
            }
        }
        _ => false,
    };
    certificate.extensions().iter().any(|extension| match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(san) => san.general_names.iter().any(matches),
        _ => false,
    })
}
