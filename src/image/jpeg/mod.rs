//! JPEG (ITU-T T.81, 8 bits; sequential and progressive, by Huffman's codes), decoded to the bit as
//! libjpeg-turbo does it by default: its slow integer transform, triangular upsampling of colour, and colours
//! in fixed point. ONNX's ImageDecoder and Pillow mean that by a JPEG's pixels.
//!
//! Refused by name: arithmetic coding, 12 bits, lossless and hierarchical forms, four colours (CMYK).

mod bits;
mod colour;
mod frame;
mod scan;
mod transform;

use crate::error::{Error, ErrorKind, Result};
use bits::{Bits, HuffmanTable};
use frame::Frame;
use scan::Scan;

/// The most scans that a file may have: a progressive one has some ten of them.
const MAX_SCANS: usize = 500;

/// What every JPEG file begins with.
pub(super) const MAGIC: &[u8] = &[0xff, 0xd8, 0xff];

/// The error of a file that is no JPEG, or a broken one.
fn broken(what: &str) -> Error {
    Error::new(ErrorKind::File, format!("not a picture that can be decoded: a JPEG file {what}"))
        .remedy("give a whole file")
}

/// The error of a file of a kind that isn't decoded.
fn refused(what: &str) -> Error {
    Error::unsupported(format!("a picture in JPEG {what}")).remedy("give it as PNG")
}

/// Width, height and RGB bytes.
pub(super) type Pixels = (usize, usize, Vec<u8>);

/// What a file says outside its scans.
#[derive(Default)]
struct Decoder {
    quantisation: [Option<[u16; 64]>; 4],
    dc: [Option<HuffmanTable>; 4],
    ac: [Option<HuffmanTable>; 4],
    restart: usize,
    frame: Option<Frame>,
    /// The file calls itself JFIF, whose colours are YCbCr.
    jfif: bool,
    /// What Adobe's segment says of colours.
    adobe: Option<u8>,
    scans: usize,
}

/// A segment's bytes, in order.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn u8(&mut self) -> Result<u8> {
        let (&first, rest) = self.0.split_first().ok_or_else(|| broken("with a short segment"))?;
        self.0 = rest;
        Ok(first)
    }
    fn u16(&mut self) -> Result<usize> {
        Ok(usize::from(self.u8()?) << 8 | usize::from(self.u8()?))
    }
    /// Two halves of a byte.
    fn halves(&mut self) -> Result<[usize; 2]> {
        let byte = usize::from(self.u8()?);
        Ok([byte >> 4, byte & 15])
    }
}

/// Decodes a whole file.
///
/// Errors: of kind `File` where it is broken or cut short, `Unsupported` where it is of a kind that isn't
/// decoded, `Memory` where it is too large.
pub(super) fn decode(file: &[u8]) -> Result<Pixels> {
    let mut decoder = Decoder::default();
    let mut at = 2;
    loop {
        let Some(marker) = next_marker(file, &mut at) else {
            // Without its last marker a sequential file is whole all the same.
            return match decoder.frame {
                Some(frame) if !frame.progressive => colour::pixels(&frame, decoder.jfif, decoder.adobe),
                _ => Err(broken("that is cut short")),
            };
        };
        match marker {
            0xd9 => break,
            // Restarts outside a scan, and a marker without a segment.
            0xd0..=0xd8 | 0x01 => continue,
            _ => {}
        }
        let length = Bytes(file.get(at..).unwrap_or_default()).u16()?;
        let segment = file.get(at + 2..at + length.max(2)).ok_or_else(|| broken("that is cut short"))?;
        at += length.max(2);
        decoder.segment(marker, segment, file.len())?;
        if marker == 0xda {
            at += decoder.scan(segment, file.get(at..).unwrap_or_default())?;
        }
    }
    match decoder.frame {
        Some(frame) => colour::pixels(&frame, decoder.jfif, decoder.adobe),
        None => Err(broken("without a picture")),
    }
}

/// The next marker's code, `at` being moved behind it.
fn next_marker(file: &[u8], at: &mut usize) -> Option<u8> {
    loop {
        *at += file.get(*at..)?.iter().position(|&byte| byte == 0xff)?;
        *at += file[*at..].iter().position(|&byte| byte != 0xff)?;
        let code = file[*at];
        *at += 1;
        if code != 0 {
            return Some(code);
        }
    }
}

impl Decoder {
    /// Takes what a segment says; a scan's header is for [`Self::scan`].
    fn segment(&mut self, marker: u8, segment: &[u8], file: usize) -> Result<()> {
        let mut bytes = Bytes(segment);
        match marker {
            0xc4 => self.huffman(bytes),
            0xdb => self.quantisation(bytes),
            0xdd => {
                self.restart = bytes.u16()?;
                Ok(())
            }
            0xc0..=0xc2 if self.frame.is_some() => Err(broken("with two pictures")),
            0xc0..=0xc2 => {
                self.frame = Some(Frame::read(bytes, marker == 0xc2, file)?);
                Ok(())
            }
            0xc3 => Err(refused("without loss")),
            0xc5..=0xc7 => Err(refused("by differences")),
            0xc8 => Err(refused("of an extension")),
            0xc9..=0xcf => Err(refused("by arithmetic codes")),
            0xdc => Err(refused("whose height comes behind it")),
            0xe0 => {
                self.jfif |= segment.starts_with(b"JFIF\0");
                Ok(())
            }
            0xee if segment.starts_with(b"Adobe") && segment.len() >= 12 => {
                self.adobe = Some(segment[11]);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn quantisation(&mut self, mut bytes: Bytes<'_>) -> Result<()> {
        while !bytes.0.is_empty() {
            let [deep, place] = bytes.halves()?;
            let mut table = [0u16; 64];
            for &natural in &scan::ZIGZAG {
                let step = if deep == 0 { usize::from(bytes.u8()?) } else { bytes.u16()? };
                table[natural] = step as u16;
            }
            let slot = self.quantisation.get_mut(place);
            *slot.ok_or_else(|| broken("with a table of no number"))? = Some(table);
        }
        Ok(())
    }

    fn huffman(&mut self, mut bytes: Bytes<'_>) -> Result<()> {
        while !bytes.0.is_empty() {
            let [class, place] = bytes.halves()?;
            let mut counts = [0usize; 16];
            for count in &mut counts {
                *count = usize::from(bytes.u8()?);
            }
            let total = counts.iter().sum::<usize>();
            let values = bytes.0.get(..total).ok_or_else(|| broken("with a short segment"))?;
            bytes.0 = &bytes.0[total..];
            let table = HuffmanTable::new(&counts, values)?;
            let tables = if class == 0 { &mut self.dc } else { &mut self.ac };
            let slot = tables.get_mut(place).filter(|_| class < 2);
            *slot.ok_or_else(|| broken("with a table of no number"))? = Some(table);
        }
        Ok(())
    }

    /// Reads a scan by its header and the bytes behind it; gives how many of these it took.
    fn scan(&mut self, header: &[u8], data: &[u8]) -> Result<usize> {
        self.scans += 1;
        let frame = self.frame.as_mut().ok_or_else(|| broken("with a scan before its sizes"))?;
        if self.scans > MAX_SCANS {
            return Err(broken("of too many scans"));
        }
        let scan = Scan::read(Bytes(header), frame)?;
        for &(index, _) in &scan.components {
            // A component keeps the table that it begins with.
            let component = &mut frame.components[index];
            if component.quantisation.is_none() {
                component.quantisation = self.quantisation.get(component.table).cloned().flatten();
            }
            if component.quantisation.is_none() {
                return Err(broken("without its table of steps"));
            }
        }
        let mut bits = Bits::new(data);
        scan.run(frame, &mut bits, [&self.dc, &self.ac], self.restart)?;
        Ok(bits.position())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::arrays;

    /// A name, a file, and the shape and the bytes of what Pillow makes of it.
    type Golden = (String, Vec<u8>, Vec<usize>, Vec<u8>);

    /// Those of models/tiny/jpeg_golden.py.
    fn golden() -> Vec<Golden> {
        let all = arrays("jpeg_golden.npz");
        let find = |name: &str| all.iter().find(|(found, _)| found == name).map(|(_, array)| array).unwrap();
        let names = all.iter().filter_map(|(name, _)| name.strip_suffix(".file"));
        let bytes = |name: &str| find(name).as_slice::<u8>().unwrap().to_vec();
        names
            .map(|name| {
                let shape = find(&format!("{name}.rgb")).shape().to_vec();
                (name.to_string(), bytes(&format!("{name}.file")), shape, bytes(&format!("{name}.rgb")))
            })
            .collect()
    }

    #[test]
    fn pixels_are_libjpeg_turbos() {
        let golden = golden();
        assert!(golden.len() >= 12);
        for (name, file, shape, rgb) in golden {
            let (width, height, pixels) = decode(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert_eq!([height, width, 3], shape[..], "{name}");
            let off = pixels.iter().zip(&rgb).filter(|(x, y)| x != y).count();
            assert_eq!(off, 0, "{name}: {off} of {} levels differ", rgb.len());
        }
    }

    /// Cut short, or with a byte made another: an error or a picture, never a panic.
    #[test]
    fn broken_files() {
        let mut random = crate::random::SplitMix64(7);
        for (name, file, ..) in golden() {
            for length in (0..file.len() - 2).step_by(7) {
                // Behind the last scan nothing may be missing.
                let _ = decode(&file[..length]);
            }
            assert!(decode(&file[..file.len() / 2]).is_err(), "{name}");
            for _ in 0..300 {
                let mut file = file.clone();
                let at = random.next() as usize % (file.len() - 2) + 2;
                file[at] = random.next() as u8;
                let _ = decode(&file);
            }
        }
    }

    #[test]
    fn what_is_refused() {
        let file = golden().remove(0).1;
        let sizes = file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
        let with = |at: usize, byte: u8| {
            let mut file = file.clone();
            file[sizes + at] = byte;
            decode(&file).unwrap_err()
        };
        assert!(with(1, 0xc9).to_string().contains("arithmetic"));
        assert!(with(1, 0xc3).to_string().contains("without loss"));
        assert!(with(4, 12).to_string().contains("12 bits"));
        // 65,000 pixels a side, of a short file.
        let mut huge = file.clone();
        huge[sizes + 5..sizes + 9].copy_from_slice(&[0xfd, 0xe8, 0xfd, 0xe8]);
        assert_eq!(decode(&huge).unwrap_err().kind(), ErrorKind::Memory);
        huge[sizes + 5..sizes + 9].copy_from_slice(&[0x20, 0, 0x20, 0]);
        assert_eq!(decode(&huge).unwrap_err().kind(), ErrorKind::File);
    }
}
