//! A scan's bits, and Huffman's codes in them.

use super::broken;
use crate::error::Result;

/// The bits of a scan, up to the marker that ends it.
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The next byte to take.
    at: usize,
    /// Bits that were taken and not yet read, the next one highest.
    held: u64,
    count: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self { data, at: 0, held: 0, count: 0 }
    }

    /// How many bytes were taken; a marker isn't.
    pub(super) fn position(&self) -> usize {
        self.at
    }

    /// Takes bytes while there is room for them and none is a marker's; 0 stands behind an 0xff that is data.
    fn fill(&mut self) {
        while self.count <= 56 {
            let Some(&byte) = self.data.get(self.at) else { return };
            if byte == 0xff {
                match self.data.get(self.at + 1) {
                    Some(0) => self.at += 1,
                    _ => return,
                }
            }
            self.at += 1;
            self.held |= u64::from(byte) << (56 - self.count);
            self.count += 8;
        }
    }

    /// The next 16 bits, zeros where there are fewer.
    fn ahead(&mut self) -> usize {
        if self.count < 16 {
            self.fill();
        }
        (self.held >> 48) as usize
    }

    fn skip(&mut self, count: u32) -> Result<()> {
        if count > self.count {
            return Err(broken("that is cut short"));
        }
        self.held <<= count;
        self.count -= count;
        Ok(())
    }

    /// A number of up to 16 bits.
    pub(super) fn number(&mut self, count: u32) -> Result<i32> {
        let number = (self.ahead() >> (16 - count.min(16))) as i32;
        self.skip(count.min(16))?;
        Ok(number)
    }

    /// A number of `count` bits that stands for one of either sign.
    pub(super) fn signed(&mut self, count: u32) -> Result<i32> {
        let number = self.number(count)?;
        Ok(if count > 0 && number < 1 << (count - 1) { number - (1 << count) + 1 } else { number })
    }

    /// Goes behind the restart marker that has to be next.
    pub(super) fn restart(&mut self) -> Result<()> {
        (self.held, self.count) = (0, 0);
        while self.data.get(self.at..).is_some_and(|rest| rest.starts_with(&[0xff, 0xff])) {
            self.at += 1;
        }
        match self.data.get(self.at..) {
            Some([0xff, 0xd0..=0xd7, ..]) => {
                self.at += 2;
                Ok(())
            }
            _ => Err(broken("without a restart where one is due")),
        }
    }

    /// The value of the next code.
    pub(super) fn code(&mut self, table: &HuffmanTable) -> Result<u8> {
        let ahead = self.ahead();
        let quick = table.quick[ahead >> (16 - QUICK)];
        if quick.length > 0 {
            self.skip(quick.length)?;
            return Ok(quick.value);
        }
        let longer = QUICK as usize + 1..=16;
        let length = longer.into_iter().find(|&length| ahead < table.behind[length]);
        let length = length.ok_or_else(|| broken("with a code that its table lacks"))?;
        self.skip(length as u32)?;
        let place = (ahead >> (16 - length)).wrapping_sub(table.first[length]);
        let value = table.values.get(place.wrapping_add(table.start[length]));
        value.copied().ok_or_else(|| broken("with a code that its table lacks"))
    }
}

/// Codes of up to so many bits are looked up.
const QUICK: u32 = 9;

#[derive(Clone, Copy, Default)]
struct Quick {
    value: u8,
    length: u32,
}

/// Codes in order of their length, those of one length being consecutive numbers (T.81, annex C).
pub(super) struct HuffmanTable {
    quick: Vec<Quick>,
    /// Of each length: its first code; where its values begin; the first 16 bits behind its last code.
    first: [usize; 17],
    start: [usize; 17],
    behind: [usize; 17],
    values: Vec<u8>,
}

impl HuffmanTable {
    /// The table of so many codes of each length from 1 on.
    pub(super) fn new(counts: &[usize; 16], values: &[u8]) -> Result<Self> {
        let mut table = Self {
            quick: vec![Quick::default(); 1 << QUICK],
            first: [0; 17],
            start: [0; 17],
            behind: [0; 17],
            values: values.to_vec(),
        };
        let (mut code, mut start) = (0usize, 0usize);
        for (length, &count) in (1..).zip(counts) {
            code <<= 1;
            if code + count > 1 << length || start + count > values.len() {
                return Err(broken("with more codes than there can be"));
            }
            (table.first[length], table.start[length]) = (code, start);
            if length <= QUICK as usize {
                let spread = 1 << (QUICK as usize - length);
                for (place, &value) in values[start..start + count].iter().enumerate() {
                    let from = (code + place) * spread;
                    table.quick[from..from + spread].fill(Quick { value, length: length as u32 });
                }
            }
            (code, start) = (code + count, start + count);
            table.behind[length] = code << (16 - length);
        }
        Ok(table)
    }
}
