//! Public areas of TPM keys: `TPMT_PUBLIC` (TPM 2.0 Library, part 2, §12.2.4).

use crate::bytes::{Malformed, Reader};
use crate::hash::HashAlgorithm;

const NULL: u16 = 0x0010;
const RSA: u16 = 0x0001;
const ECC: u16 = 0x0023;
const RSAES: u16 = 0x0015;
const ECDAA: u16 = 0x001a;
/// No field of a key that we accept is longer: RSA of 4,096 bits has 512 bytes.
const MAX_FIELD: usize = 1024;
/// `SubjectPublicKeyInfo` of a key on P-256, up to the point.
const P256_SPKI: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a, 0x86, 0x48, 0xce,
    0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// `TPMA_OBJECT`: what a key may do and where it can be (part 2, §8.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes(u32);

impl Attributes {
    pub const FIXED_TPM: Self = Self(1 << 1);
    pub const ST_CLEAR: Self = Self(1 << 2);
    pub const FIXED_PARENT: Self = Self(1 << 4);
    pub const SENSITIVE_DATA_ORIGIN: Self = Self(1 << 5);
    pub const USER_WITH_AUTH: Self = Self(1 << 6);
    pub const ADMIN_WITH_POLICY: Self = Self(1 << 7);
    pub const NO_DA: Self = Self(1 << 10);
    pub const ENCRYPTED_DUPLICATION: Self = Self(1 << 11);
    pub const RESTRICTED: Self = Self(1 << 16);
    pub const DECRYPT: Self = Self(1 << 17);
    pub const SIGN: Self = Self(1 << 18);
    pub const X509_SIGN: Self = Self(1 << 19);

    const NAMED: [(Self, &'static str); 12] = [
        (Self::FIXED_TPM, "fixedTPM"),
        (Self::ST_CLEAR, "stClear"),
        (Self::FIXED_PARENT, "fixedParent"),
        (Self::SENSITIVE_DATA_ORIGIN, "sensitiveDataOrigin"),
        (Self::USER_WITH_AUTH, "userWithAuth"),
        (Self::ADMIN_WITH_POLICY, "adminWithPolicy"),
        (Self::NO_DA, "noDA"),
        (Self::ENCRYPTED_DUPLICATION, "encryptedDuplication"),
        (Self::RESTRICTED, "restricted"),
        (Self::DECRYPT, "decrypt"),
        (Self::SIGN, "sign"),
        (Self::X509_SIGN, "x509sign"),
    ];

    pub const fn bits(self) -> u32 {
        self.0
    }

    pub const fn of_bits(bits: u32) -> Self {
        Self(bits)
    }

    pub const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// All attributes of both.
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The first attribute of `wanted` that is missing, by its name in the specification.
    pub fn missing(self, wanted: Self) -> Option<&'static str> {
        let missing = |(bit, _): &&(Self, &str)| wanted.has(*bit) && !self.has(*bit);
        Self::NAMED.iter().find(missing).map(|(_, name)| *name)
    }

    /// Whether a bit is set that the specification reserves.
    pub fn has_reserved(self) -> bool {
        Self::NAMED.iter().fold(self.0, |rest, (bit, _)| rest & !bit.0) != 0
    }
}

/// An elliptic curve that TPMs and we have in common.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Curve {
    P256,
    P384,
}

impl Curve {
    const fn of_id(id: u16) -> Option<Self> {
        match id {
            0x0003 => Some(Self::P256),
            0x0004 => Some(Self::P384),
            _ => None,
        }
    }

    /// Bytes of a coordinate.
    pub const fn coordinate_len(self) -> usize {
        match self {
            Self::P256 => 32,
            Self::P384 => 48,
        }
    }
}

/// How a key signs when nothing else is asked: its scheme's identifier and hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scheme {
    pub id: u16,
    pub hash: Option<u16>,
}

/// The symmetric algorithm that a storage key protects its children with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symmetric {
    pub algorithm: u16,
    pub key_bits: u16,
    pub mode: u16,
}

/// The key itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyMaterial {
    /// Modulus without leading zeros, and exponent.
    Rsa { bits: u16, exponent: u32, modulus: Vec<u8> },
    /// An uncompressed point (SEC 1, §2.3.3): 4, x, y.
    Ecc { curve: Curve, point: Vec<u8> },
}

/// A key's public area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Public {
    pub name_algorithm: HashAlgorithm,
    pub attributes: Attributes,
    pub policy: Vec<u8>,
    pub symmetric: Option<Symmetric>,
    pub scheme: Option<Scheme>,
    pub key: KeyMaterial,
    bytes: Vec<u8>,
}

impl Public {
    /// Reads an RSA or ECC key.
    ///
    /// # Errors
    /// Another kind of key, a curve other than P-256 and P-384, or bytes that are not a `TPMT_PUBLIC`.
    pub fn parse(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut reader = Reader::new("TPMT_PUBLIC", bytes);
        let kind = reader.u16_be()?;
        let name_algorithm =
            HashAlgorithm::of_id(reader.u16_be()?).ok_or_else(|| reader.refusal("its nameAlg is not known here"))?;
        let attributes = Attributes(reader.u32_be()?);
        let policy = reader.sized_be(64)?.to_vec();
        let symmetric = symmetric(&mut reader)?;
        let scheme = scheme(&mut reader)?;
        let key = match kind {
            RSA => rsa(&mut reader)?,
            ECC => ecc(&mut reader)?,
            _ => return Err(reader.refusal("the key is neither RSA nor ECC")),
        };
        reader.finish()?;
        Ok(Self { name_algorithm, attributes, policy, symmetric, scheme, key, bytes: bytes.to_vec() })
    }

    /// The object's Name (part 1, §16): the identifier of nameAlg, and the digest of the public area.
    pub fn name(&self) -> Vec<u8> {
        let digest = self.name_algorithm.digest([self.bytes.as_slice()]);
        [self.name_algorithm.id().to_be_bytes().as_slice(), &digest].concat()
    }

    /// DER `SubjectPublicKeyInfo` (RFC 5480 §2), if the key is on P-256.
    pub fn spki_der(&self) -> Option<Vec<u8>> {
        match &self.key {
            KeyMaterial::Ecc { curve: Curve::P256, point } => Some([&P256_SPKI[..], point].concat()),
            _ => None,
        }
    }

    /// The qualified name of a primary key in the hierarchy with this handle.
    pub fn qualified_name(&self, hierarchy: u32) -> Vec<u8> {
        let digest = self.name_algorithm.digest([hierarchy.to_be_bytes().as_slice(), &self.name()]);
        [self.name_algorithm.id().to_be_bytes().as_slice(), &digest].concat()
    }
}

fn symmetric(reader: &mut Reader<'_>) -> Result<Option<Symmetric>, Malformed> {
    let algorithm = reader.u16_be()?;
    if algorithm == NULL {
        return Ok(None);
    }
    Ok(Some(Symmetric { algorithm, key_bits: reader.u16_be()?, mode: reader.u16_be()? }))
}

fn scheme(reader: &mut Reader<'_>) -> Result<Option<Scheme>, Malformed> {
    let id = reader.u16_be()?;
    let hash = match id {
        NULL => return Ok(None),
        RSAES => None,
        _ => Some(reader.u16_be()?),
    };
    if id == ECDAA {
        reader.u16_be()?;
    }
    Ok(Some(Scheme { id, hash }))
}

fn rsa(reader: &mut Reader<'_>) -> Result<KeyMaterial, Malformed> {
    let bits = reader.u16_be()?;
    let exponent = match reader.u32_be()? {
        0 => 65_537,
        other => other,
    };
    let modulus = reader.sized_be(MAX_FIELD)?;
    if !matches!(bits, 2048 | 3072 | 4096) || modulus.len() * 8 != usize::from(bits) || modulus.first() < Some(&0x80) {
        return Err(reader.refusal("the RSA key has not 2048, 3072 or 4096 bits"));
    }
    Ok(KeyMaterial::Rsa { bits, exponent, modulus: modulus.to_vec() })
}

fn ecc(reader: &mut Reader<'_>) -> Result<KeyMaterial, Malformed> {
    let curve = Curve::of_id(reader.u16_be()?).ok_or_else(|| reader.refusal("the curve is not P-256 or P-384"))?;
    if reader.u16_be()? != NULL {
        reader.u16_be()?;
    }
    let mut point = vec![4];
    for _ in 0..2 {
        point.extend(padded(reader.sized_be(MAX_FIELD)?, curve.coordinate_len()).map_err(|why| reader.refusal(why))?);
    }
    Ok(KeyMaterial::Ecc { curve, point })
}

/// An integer of exactly `len` bytes. TPMs may leave leading zeros out.
pub(super) fn padded(integer: &[u8], len: usize) -> Result<Vec<u8>, &'static str> {
    let zeros = len.checked_sub(integer.len()).ok_or("an integer is longer than its curve's field")?;
    Ok([vec![0; zeros].as_slice(), integer].concat())
}

/// The shortest form of a big-endian integer.
pub(super) fn without_leading_zeros(integer: &[u8]) -> &[u8] {
    let zeros = integer.iter().take_while(|byte| **byte == 0).count();
    integer.get(zeros..).unwrap_or_default()
}
