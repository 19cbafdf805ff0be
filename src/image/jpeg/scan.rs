//! Scans: which coefficients of which components one gives, and how they are read (T.81, F.2.2 and G.2).

use super::bits::{Bits, HuffmanTable};
use super::frame::{Component, Frame};
use super::{Bytes, broken};
use crate::error::Result;

/// The place of each coefficient in the file's order in its block, row by row.
pub(super) const ZIGZAG: [usize; 64] = zigzag();

const fn zigzag() -> [usize; 64] {
    let mut order = [0; 64];
    let (mut at, mut diagonal) = (0, 0);
    while diagonal < 15 {
        // Diagonals go up and down in turn.
        let mut step = 0;
        while step <= diagonal {
            let (row, column) =
                if diagonal % 2 == 0 { (diagonal - step, step) } else { (step, diagonal - step) };
            if row < 8 && column < 8 {
                order[at] = row * 8 + column;
                at += 1;
            }
            step += 1;
        }
        diagonal += 1;
    }
    order
}

/// The tables of a component in a scan.
type Numbers = [usize; 2];

/// A scan's header.
pub(super) struct Scan {
    /// Components by their place in the frame.
    pub components: Vec<(usize, Numbers)>,
    /// The coefficients that it gives.
    first: usize,
    last: usize,
    /// The bit that was given before; 0: none. And the one down to which it gives them.
    before: u32,
    down_to: u32,
    progressive: bool,
}

/// What is carried from block to block, up to a restart.
#[derive(Default)]
struct Carried {
    /// Each component's last mean.
    means: [i32; 4],
    /// Blocks that have no more coefficients in this scan.
    ended: i32,
}

/// A component's tables; one may lack where it isn't needed.
struct Tables<'a> {
    dc: Option<&'a HuffmanTable>,
    ac: Option<&'a HuffmanTable>,
}

fn needed(table: Option<&HuffmanTable>) -> Result<&HuffmanTable> {
    table.ok_or_else(|| broken("without its table of codes"))
}

impl Scan {
    pub(super) fn read(mut bytes: Bytes<'_>, frame: &Frame) -> Result<Self> {
        let count = bytes.u8()?;
        if !(1..=4).contains(&count) {
            return Err(broken("with a scan of no component"));
        }
        let mut components = vec![];
        for _ in 0..count {
            let (id, numbers) = (bytes.u8()?, bytes.halves()?);
            let place = frame.components.iter().position(|component| component.id == id);
            let place = place.filter(|place| components.iter().all(|(other, _)| other != place));
            components.push((place.ok_or_else(|| broken("with a scan of no component"))?, numbers));
        }
        let (first, last, [before, down_to]) =
            (usize::from(bytes.u8()?), usize::from(bytes.u8()?), bytes.halves()?);
        if !frame.progressive {
            return Ok(Self { components, first: 0, last: 63, before: 0, down_to: 0, progressive: false });
        }
        let fits = first <= last
            && last < 64
            && (first > 0 || last == 0)
            && (first == 0 || components.len() == 1)
            && down_to <= 13
            && (before == 0 || before == down_to + 1);
        if !fits {
            return Err(broken("with a scan that can't be"));
        }
        let (before, down_to) = (before as u32, down_to as u32);
        Ok(Self { components, first, last, before, down_to, progressive: true })
    }

    /// Reads the scan's blocks, with a restart behind every so many units (0: none).
    pub(super) fn run(
        &self,
        frame: &mut Frame,
        bits: &mut Bits<'_>,
        tables: [&[Option<HuffmanTable>; 4]; 2],
        restart: usize,
    ) -> Result<()> {
        let table = |of: usize, number: usize| tables[of].get(number).and_then(Option::as_ref);
        let tables: Vec<Tables<'_>> = self
            .components
            .iter()
            .map(|&(_, [dc, ac])| Tables { dc: table(0, dc), ac: table(1, ac) })
            .collect();
        let mut carried = Carried::default();
        // A component by itself goes by its own blocks; several by units of the finest's.
        let alone = self.components.len() == 1;
        let (across, down) = match self.components[..] {
            [(index, _)] => {
                let component = &frame.components[index];
                (component.width.div_ceil(8), component.height.div_ceil(8))
            }
            _ => (frame.across, frame.down),
        };
        for unit in 0..across * down {
            if restart > 0 && unit > 0 && unit % restart == 0 {
                bits.restart()?;
                carried = Carried::default();
            }
            let (row, column) = (unit / across, unit % across);
            for (tables, &(index, _)) in tables.iter().zip(&self.components) {
                let component = &mut frame.components[index];
                let [tall, wide] = if alone { [1, 1] } else { [component.vertical, component.horizontal] };
                for within in 0..tall * wide {
                    let (row, column) = (row * tall + within / wide, column * wide + within % wide);
                    let block = component.block(row, column)?;
                    self.block(block, bits, tables, &mut carried, index)?;
                }
            }
        }
        for &(index, _) in &self.components {
            frame.components[index].given[self.first..=self.last].fill(self.down_to as i8);
        }
        Ok(())
    }

    fn block(
        &self,
        block: &mut [i16; 64],
        bits: &mut Bits<'_>,
        tables: &Tables<'_>,
        carried: &mut Carried,
        index: usize,
    ) -> Result<()> {
        if self.first == 0 && self.before > 0 {
            block[0] |= (bits.number(1)? as i16) << self.down_to;
            return Ok(());
        }
        if self.first == 0 {
            let length = u32::from(bits.code(needed(tables.dc)?)?);
            if length > 15 {
                return Err(broken("with a mean beyond its range"));
            }
            let mean = &mut carried.means[index.min(3)];
            *mean = mean.wrapping_add(bits.signed(length)?);
            block[0] = (*mean << self.down_to) as i16;
        }
        match (self.progressive, self.before) {
            (false, _) => self.spectrum(block, bits, needed(tables.ac)?, &mut 0),
            _ if self.first == 0 => Ok(()),
            (true, 0) => self.spectrum(block, bits, needed(tables.ac)?, &mut carried.ended),
            _ => self.refine(block, bits, needed(tables.ac)?, &mut carried.ended),
        }
    }

    /// Coefficients for the first time: runs of zeros with the number behind each. In a progressive scan a
    /// run may end this block and some of those that follow.
    fn spectrum(
        &self,
        block: &mut [i16; 64],
        bits: &mut Bits<'_>,
        table: &HuffmanTable,
        ended: &mut i32,
    ) -> Result<()> {
        if *ended > 0 {
            *ended -= 1;
            return Ok(());
        }
        let mut at = self.first.max(1);
        while at <= self.last {
            let code = bits.code(table)?;
            let (run, length) = (usize::from(code >> 4), u32::from(code & 15));
            if length == 0 && run < 15 {
                if self.progressive && run > 0 {
                    *ended = (1 << run) - 1 + bits.number(run as u32)?;
                }
                return Ok(());
            }
            at += run;
            if length > 0 {
                let place = ZIGZAG.get(at).filter(|_| at <= self.last);
                let place = *place.ok_or_else(|| broken("with a run beyond its block"))?;
                block[place] = (bits.signed(length)? << self.down_to) as i16;
            }
            at += 1;
        }
        Ok(())
    }

    /// One more bit of each coefficient that there is, and coefficients of that bit alone.
    fn refine(
        &self,
        block: &mut [i16; 64],
        bits: &mut Bits<'_>,
        table: &HuffmanTable,
        ended: &mut i32,
    ) -> Result<()> {
        let bit = 1i16 << self.down_to;
        let mut at = self.first;
        while at <= self.last && *ended == 0 {
            let code = bits.code(table)?;
            let (mut zeros, length) = (usize::from(code >> 4), code & 15);
            let fresh = match length {
                0 if zeros < 15 => {
                    *ended = (1 << zeros) + bits.number(zeros as u32)?;
                    break;
                }
                0 => 0,
                _ if bits.number(1)? == 1 => bit,
                _ => -bit,
            };
            // Goes over so many zeros, and refines what lies between them.
            while at <= self.last {
                let coefficient = &mut block[ZIGZAG[at]];
                at += 1;
                if *coefficient != 0 {
                    correct(coefficient, bit, bits)?;
                } else if zeros == 0 {
                    *coefficient = fresh;
                    break;
                } else {
                    zeros -= 1;
                }
            }
        }
        if *ended > 0 {
            for &place in ZIGZAG.iter().take(self.last + 1).skip(at) {
                if block[place] != 0 {
                    correct(&mut block[place], bit, bits)?;
                }
            }
            *ended -= 1;
        }
        Ok(())
    }
}

/// Adds a bit to a coefficient's magnitude, where the next bit says so and it isn't there already.
fn correct(coefficient: &mut i16, bit: i16, bits: &mut Bits<'_>) -> Result<()> {
    if bits.number(1)? == 1 && *coefficient & bit == 0 {
        *coefficient = coefficient.wrapping_add(if *coefficient > 0 { bit } else { -bit });
    }
    Ok(())
}

impl Component {
    /// Whether scans have left out a part of the low frequencies, which libjpeg-turbo then guesses.
    pub(super) fn is_coarse(&self) -> bool {
        self.given[1..10].iter().any(|&bit| bit != 0)
    }
}
