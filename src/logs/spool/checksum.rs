//! CRC-32 as in zip and Ethernet, eight bytes a step. It finds torn and flipped bytes; it is no protection against who writes on purpose.

/// `TABLES[k][b]`: the remainder of byte `b` followed by `k` zeros.
const TABLES: [[u32; 256]; 8] = tables();

/// The polynomial, its lowest power in the highest bit.
const POLYNOMIAL: u32 = 0xedb8_8320;

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            remainder = if remainder & 1 == 1 { remainder >> 1 ^ POLYNOMIAL } else { remainder >> 1 };
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = before >> 8 ^ tables[0][(before & 0xff) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

/// Of `bytes`.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    let mut remainder = !0_u32;
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mixed = u64::from_le_bytes(*word) ^ u64::from(remainder);
        remainder = 0;
        for (at, byte) in mixed.to_le_bytes().into_iter().enumerate() {
            remainder ^= TABLES[7 - at][usize::from(byte)];
        }
    }
    for byte in rest {
        remainder = remainder >> 8 ^ TABLES[0][(remainder as u8 ^ byte) as usize];
    }
    !remainder
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_usual_one() {
        assert_eq!(checksum(b""), 0);
        assert_eq!(checksum(b"123456789"), 0xcbf4_3926);
        assert_eq!(checksum(b"The quick brown fox jumps over the lazy dog"), 0x414f_a339);
    }

    #[test]
    fn every_flipped_bit_is_seen() {
        let bytes = *b"a record of a log, longer than a step";
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_ne!(checksum(&flipped), checksum(&bytes), "bit {bit}");
        }
    }
}
