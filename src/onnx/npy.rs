//! [numpy's array format](https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html), versions 1
//! to 3.

use crate::error::{Error, Result};
use crate::tensor::{Boolean, DType, Tensor, allocate, element_count};

const MAGIC: &[u8] = b"\x93NUMPY";
/// numpy itself refuses longer headers.
const MAX_HEADER: usize = 10_000;

/// Whether bytes begin like an .npy file.
pub fn is_npy(bytes: &[u8]) -> bool {
    bytes.starts_with(MAGIC)
}

fn wrong(what: impl Into<String>) -> Error {
    Error::new(crate::error::ErrorKind::File, what).remedy("save it again with numpy.save")
}

/// A tensor from a whole .npy file: numbers, bool and text, either byte order, C or Fortran order.
pub fn decode(bytes: &[u8]) -> Result<Tensor> {
    let broken = || wrong("is not a whole .npy file");
    let version = *bytes.get(MAGIC.len()).filter(|_| is_npy(bytes)).ok_or_else(broken)?;
    let (start, length) = match (version, bytes.get(8..10), bytes.get(8..12)) {
        (1, Some(&[a, b]), _) => (10, u16::from_le_bytes([a, b]) as usize),
        (2 | 3, _, Some(&[a, b, c, d])) => (12, u32::from_le_bytes([a, b, c, d]) as usize),
        _ => return Err(broken()),
    };
    if length > MAX_HEADER {
        return Err(wrong(format!("has an .npy header of {length} bytes")));
    }
    let header = bytes
        .get(start..start + length)
        .and_then(|header| std::str::from_utf8(header).ok())
        .ok_or_else(broken)?;
    let data = bytes.get(start + length..).ok_or_else(broken)?;
    let header = Header::parse(header)
        .ok_or_else(|| wrong(format!("has an .npy header that can't be read: {}", header.trim())))?;
    let count = element_count(&header.shape)?;
    if header.fortran && header.shape.len() > 1 {
        let turned: Vec<usize> = header.shape.iter().rev().copied().collect();
        let tensor = elements(header.kind, turned, count, data)?;
        return transpose(&tensor, header.shape);
    }
    elements(header.kind, header.shape, count, data)
}

/// What an .npy header says.
struct Header<'a> {
    kind: &'a str,
    fortran: bool,
    shape: Vec<usize>,
}

impl<'a> Header<'a> {
    /// Reads `{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }` in any order of its entries.
    fn parse(text: &'a str) -> Option<Self> {
        let after = |key: &str| {
            let (_, rest) =
                text.split_once(&format!("'{key}'")).or_else(|| text.split_once(&format!("\"{key}\"")))?;
            rest.trim_start().strip_prefix(':').map(str::trim_start)
        };
        let descr = after("descr")?;
        let quote = descr.chars().next().filter(|quote| "'\"".contains(*quote));
        // A structured type is a list: it is passed on, to be refused by name.
        let kind = quote.map_or(Some(descr), |quote| descr.get(1..)?.split(quote).next())?;
        let fortran = match after("fortran_order")? {
            order if order.starts_with("True") => true,
            order if order.starts_with("False") => false,
            _ => return None,
        };
        let (sizes, _) = after("shape")?.strip_prefix('(')?.split_once(')')?;
        let sizes =
            sizes.split(',').map(|size| size.trim().trim_end_matches('L')).filter(|size| !size.is_empty());
        Some(Self { kind, fortran, shape: sizes.map(|size| size.parse().ok()).collect::<Option<_>>()? })
    }
}

/// numpy's name of an element type without the byte order.
fn code(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F64 => "f8",
        DType::F32 => "f4",
        DType::F16 => "f2",
        DType::I8 => "i1",
        DType::I16 => "i2",
        DType::I32 => "i4",
        DType::I64 => "i8",
        DType::U8 => "u1",
        DType::U16 => "u2",
        DType::U32 => "u4",
        DType::U64 => "u8",
        DType::Bool => "b1",
        _ => return None,
    })
}

fn elements(kind: &str, shape: Vec<usize>, count: usize, data: &[u8]) -> Result<Tensor> {
    let big = kind.starts_with('>');
    let name = kind.trim_start_matches(['<', '>', '|', '=']);
    let enough = |size: usize| {
        let wanted = count.saturating_mul(size);
        let short = || {
            wrong(format!(
                "holds {} bytes of elements; the shape {shape:?} of type '{kind}' takes {wanted}",
                data.len()
            ))
        };
        data.get(..wanted).filter(|_| data.len() == wanted).ok_or_else(short)
    };
    if let Some(length) = name.strip_prefix('U').and_then(|length| length.parse::<usize>().ok()) {
        let data = enough(length.saturating_mul(4))?;
        let unit = |bytes: &[u8]| match *bytes {
            [a, b, c, d] if big => u32::from_be_bytes([a, b, c, d]),
            [a, b, c, d] => u32::from_le_bytes([a, b, c, d]),
            _ => 0,
        };
        let text = |bytes: &[u8]| {
            let text: Option<String> =
                bytes.chunks_exact(4).map(|bytes| char::from_u32(unit(bytes))).collect();
            text.map(|text| text.trim_end_matches('\0').to_string())
                .ok_or_else(|| wrong("holds text that is not Unicode"))
        };
        // Text of no length takes no bytes at all, so that only the count bounds it.
        let all = if length == 0 {
            empty_texts(count)?
        } else {
            data.chunks_exact(length * 4).map(text).collect::<Result<Vec<_>>>()?
        };
        return Tensor::strings(shape, all);
    }
    let all = [
        DType::F64,
        DType::F32,
        DType::F16,
        DType::I8,
        DType::I16,
        DType::I32,
        DType::I64,
        DType::U8,
        DType::U16,
        DType::U32,
        DType::U64,
        DType::Bool,
    ];
    let Some(dtype) = all.into_iter().find(|&dtype| code(dtype) == Some(name)) else {
        return Err(Error::unsupported(format!("the .npy element type '{}' is not supported", kind.trim()))
            .remedy("save numbers, bool or str; a .pb holds bfloat16"));
    };
    let data = enough(dtype.size())?;
    if dtype == DType::Bool {
        return Tensor::new(shape, data.iter().map(|&byte| Boolean::from(byte != 0)).collect::<Vec<_>>());
    }
    if !big || dtype.size() == 1 {
        return Tensor::from_bytes(dtype, shape, data);
    }
    let mut swapped = allocate(data.len())?;
    swapped.extend_from_slice(data);
    swapped.chunks_exact_mut(dtype.size()).for_each(<[u8]>::reverse);
    Tensor::from_bytes(dtype, shape, &swapped)
}

fn empty_texts(count: usize) -> Result<Vec<String>> {
    if count > 1 << 20 {
        return Err(wrong(format!("claims {count} empty strings")));
    }
    Ok(vec![String::new(); count])
}

/// Turns a tensor's axes around: Fortran order is C order of the reversed shape.
fn transpose(tensor: &Tensor, shape: Vec<usize>) -> Result<Tensor> {
    let sizes = shape.clone();
    tensor.pick(shape, |index| {
        // The C-order index by axes, last first, gathered again with the first axis fastest.
        let (mut rest, mut at, mut block) = (index, 0, sizes.iter().product::<usize>());
        for &size in sizes.iter().rev() {
            block /= size.max(1);
            at += rest % size.max(1) * block;
            rest /= size.max(1);
        }
        Some(at)
    })
}

/// The bytes of an .npy file (version 1, C order). Errors for types that numpy lacks.
pub fn encode(tensor: &Tensor) -> Result<Vec<u8>> {
    let (kind, data) = if tensor.dtype() == DType::String { texts(tensor)? } else { numbers(tensor)? };
    let sizes: String = tensor.shape().iter().map(|size| format!("{size}, ")).collect();
    // A tuple of one keeps its comma, longer ones lose theirs.
    let sizes = if tensor.rank() > 1 { sizes.trim_end_matches(", ") } else { sizes.trim_end() };
    let header = format!("{{'descr': '{kind}', 'fortran_order': False, 'shape': ({sizes}), }}");
    // The elements begin at a multiple of 64, as numpy has it.
    let length = (header.len() + 11).next_multiple_of(64) - 10;
    let short = u16::try_from(length)
        .map_err(|_| Error::unsupported("the shape has too many dimensions for .npy"))?;
    let mut out = allocate(10 + length + data.len())?;
    out.extend_from_slice(MAGIC);
    out.extend_from_slice(&[1, 0]);
    out.extend_from_slice(&short.to_le_bytes());
    out.extend_from_slice(format!("{header:<width$}\n", width = length - 1).as_bytes());
    out.extend_from_slice(&data);
    Ok(out)
}

fn numbers(tensor: &Tensor) -> Result<(String, std::borrow::Cow<'_, [u8]>)> {
    let name = code(tensor.dtype()).ok_or_else(|| {
        Error::unsupported(format!(".npy can't hold {}", tensor.dtype())).remedy("write a .pb file")
    })?;
    let order = if tensor.dtype().size() == 1 { '|' } else { '<' };
    Ok((format!("{order}{name}"), tensor.bytes().into()))
}

/// numpy's fixed-length UTF-32.
fn texts(tensor: &Tensor) -> Result<(String, std::borrow::Cow<'_, [u8]>)> {
    let all = tensor.as_strings()?;
    let length = all.iter().map(|text| text.chars().count()).max().unwrap_or(0).max(1);
    let mut data = allocate(all.len().saturating_mul(length).saturating_mul(4))?;
    for text in all {
        let padded = text.chars().map(u32::from).chain(std::iter::repeat(0)).take(length);
        data.extend(padded.flat_map(u32::to_le_bytes));
    }
    Ok((format!("<U{length}"), data.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        [MAGIC, &[1, 0], &(header.len() as u16).to_le_bytes(), header.as_bytes(), data].concat()
    }

    #[test]
    fn what_is_written_comes_back() {
        for shape in [vec![], vec![6], vec![0], vec![2, 3], vec![1, 2, 3]] {
            let count = shape.iter().product::<usize>();
            let integers = Tensor::new(shape.clone(), (0..count as i64).collect()).unwrap();
            for dtype in [DType::F32, DType::F16, DType::U8, DType::Bool, DType::I64, DType::U16] {
                let tensor = crate::tensor::cast(&integers, dtype, true).unwrap();
                let bytes = encode(&tensor).unwrap();
                assert_eq!((bytes.len() - tensor.bytes().len()) % 64, 0);
                assert_eq!(decode(&bytes).unwrap(), tensor);
            }
        }
        let texts = Tensor::strings([3], vec!["naïve".into(), String::new(), "日本".into()]).unwrap();
        assert_eq!(decode(&encode(&texts).unwrap()).unwrap(), texts);
        assert!(encode(&crate::tensor::cast(&Tensor::scalar(1f32), DType::BF16, true).unwrap()).is_err());
    }

    #[test]
    fn fortran_and_big_endian() {
        let data: Vec<u8> = [0i16, 3, 1, 4, 2, 5].iter().flat_map(|x| x.to_be_bytes()).collect();
        let tensor =
            decode(&file("{'descr': '>i2', 'fortran_order': True, 'shape': (2, 3), }\n", &data)).unwrap();
        assert_eq!(tensor, Tensor::new([2, 3], vec![0i16, 1, 2, 3, 4, 5]).unwrap());
    }

    #[test]
    fn broken_files_are_refused() {
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n";
        let whole = file(header, &[0; 8]);
        decode(&whole).unwrap();
        for length in 0..whole.len() {
            assert!(decode(&whole[..length]).is_err(), "{length}");
        }
        for shape in ["(-1,)", "(99999999999999999999,)", "(9999999999, 9999999999)", "(2", "(((((("] {
            assert!(decode(&file(&header.replace("(2,)", shape), &[0; 8])).is_err(), "{shape}");
        }
        for kind in ["'|O'", "'<c8'", "[('a', '<f4')]", "'<U0'", "'<U999999999999999999'"] {
            let count = if kind == "'<U0'" { "(9999999999,)" } else { "(2,)" };
            assert!(
                decode(&file(&header.replace("'<f4'", kind).replace("(2,)", count), &[0; 8])).is_err(),
                "{kind}"
            );
        }
    }
}
