use super::*;
use crate::HashAlgorithm::{Sha1, Sha256};

fn spec_id(algorithms: &[(u16, u16)]) -> Vec<u8> {
    let mut data = b"Spec ID Event03\0".to_vec();
    data.extend([0, 0, 0, 0, 0, 2, 0, 8]);
    data.extend(u32::try_from(algorithms.len()).unwrap().to_le_bytes());
    for (id, size) in algorithms {
        data.extend(id.to_le_bytes());
        data.extend(size.to_le_bytes());
    }
    data.push(0);
    sha1_event(0, 3, &[0; 20], &data)
}

fn sha1_event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = [pcr.to_le_bytes(), kind.to_le_bytes()].concat();
    out.extend(digest);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out
}

fn agile_event(pcr: u32, kind: u32, digest: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = [pcr.to_le_bytes(), kind.to_le_bytes(), 1u32.to_le_bytes()].concat();
    out.extend(0x0bu16.to_le_bytes());
    out.extend(digest);
    out.extend(u32::try_from(data.len()).unwrap().to_le_bytes());
    out.extend(data);
    out
}

const SHA256_ONLY: &[(u16, u16)] = &[(0x0b, 32)];

#[test]
fn a_log_gives_its_pcrs() {
    let log = [spec_id(SHA256_ONLY), agile_event(4, 13, &[9; 32], b"x")].concat();
    let log = EventLog::parse(&log).unwrap();
    let mut wanted = vec![0; 32];
    Sha256.extend(&mut wanted, &[9; 32]);
    assert_eq!(log.replay(Sha256).unwrap()[&4], wanted);
    assert_eq!(log.replay(Sha1), Err(ReplayError::NoDigest("sha1", 0)));
}

#[test]
fn the_startup_locality_begins_pcr_0() {
    let locality = agile_event(0, 3, &[0; 32], b"StartupLocality\0\x03");
    let measured = agile_event(0, 8, &[9; 32], b"");
    let log = [spec_id(SHA256_ONLY), locality.clone(), measured.clone()].concat();
    let mut wanted = [vec![0; 31], vec![3]].concat();
    Sha256.extend(&mut wanted, &[9; 32]);
    assert_eq!(EventLog::parse(&log).unwrap().replay(Sha256).unwrap()[&0], wanted);
    for wrong in [[&locality[..], &locality].concat(), [&measured[..], &locality].concat()] {
        let log = EventLog::parse(&[spec_id(SHA256_ONLY), wrong].concat()).unwrap();
        assert_eq!(log.replay(Sha256), Err(ReplayError::Locality));
    }
}

#[test]
fn unmeasured_data_states_nothing() {
    let action = b"Exit Boot Services Invocation";
    let event = |digest: &[u8]| {
        let log = [spec_id(SHA256_ONLY), agile_event(5, 0x8000_0007, digest, action)].concat();
        BootFacts::of(&EventLog::parse(&log).unwrap(), Sha256).exit_boot_services
    };
    assert!(event(&Sha256.digest([action.as_slice()])));
    assert!(!event(&[0; 32]), "the TPM measured something else");
}

#[test]
fn a_cut_log_is_refused_inside_an_event() {
    let head = spec_id(SHA256_ONLY);
    let log = [head.clone(), agile_event(4, 13, &[9; 32], b"xyz")].concat();
    for at in 0..log.len() {
        assert_eq!(EventLog::parse(&log[..at]).is_ok(), at == head.len(), "{at} bytes");
    }
}

#[test]
fn lies_about_digests_are_refused() {
    for algorithms in [&[][..], &[(0x0b, 20)], &[(0x0b, 32), (0x0b, 32)], &[(4, 20); 17]] {
        EventLog::parse(&spec_id(algorithms)).unwrap_err();
    }
    let undeclared = [spec_id(&[(4, 20)]), agile_event(4, 13, &[9; 32], b"")].concat();
    EventLog::parse(&undeclared).unwrap_err();
    EventLog::parse(&[spec_id(SHA256_ONLY), agile_event(24, 13, &[9; 32], b"")].concat()).unwrap_err();
}
