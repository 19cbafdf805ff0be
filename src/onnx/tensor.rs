//! [TensorProto](https://onnx.ai/onnx/repo-docs/IR.html#tensor-element-types) to and from host tensors, for
//! every element type held.

use super::external::ExternalFiles;
use crate::error::{Error, Result};
use crate::tensor::{Boolean, DType, Tensor, allocate, element_count};
use onnx_protobuf::TensorProto;

/// TensorProto.DataLocation.EXTERNAL.
const EXTERNAL: i32 = 1;
/// No operator takes a tensor of more dimensions.
const MAX_RANK: usize = 64;

/// The element type with ONNX's number, or an error that names it.
pub fn dtype(number: i32) -> Result<DType> {
    DType::from_onnx(number).ok_or_else(|| {
        let name = match number {
            14 => "complex64",
            15 => "complex128",
            27 => "float6e2m3",
            28 => "float6e3m2",
            0 => return Error::model("the element type is not given").remedy("export the model again"),
            _ => {
                return Error::unsupported(format!("element type {number} is unknown"))
                    .remedy("convert the model to the usual types");
            }
        };
        Error::unsupported(format!("element type {name} is not supported"))
            .remedy("convert the model to float32")
    })
}

/// Dimensions as sizes. Errors on negative ones and on more elements than memory could hold.
pub fn shape(dims: &[i64]) -> Result<Vec<usize>> {
    if dims.len() > MAX_RANK {
        return Err(Error::unsupported(format!(
            "{} dimensions; at most {MAX_RANK} are supported",
            dims.len()
        )));
    }
    let sizes: Option<Vec<usize>> = dims.iter().map(|&size| usize::try_from(size).ok()).collect();
    let sizes = sizes.ok_or_else(|| Error::model(format!("the shape {dims:?} has a negative dimension")))?;
    element_count(&sizes)?;
    Ok(sizes)
}

/// The host tensor of a TensorProto. The error names the tensor.
pub fn read(proto: &TensorProto, files: &mut ExternalFiles) -> Result<Tensor> {
    decode(proto, files)
        .map_err(|error| if proto.name.is_empty() { error } else { error.at_tensor(&proto.name) })
}

/// The same of a message that is no longer needed: large elements are taken out of it instead of copied.
pub fn take(proto: &mut TensorProto, files: &mut ExternalFiles) -> Result<Tensor> {
    let plain =
        proto.data_location.value() != EXTERNAL && proto.segment.is_none() && !proto.raw_data.is_empty();
    match DType::from_onnx(proto.data_type).filter(|dtype| {
        plain && !matches!(dtype, DType::Bool | DType::String) && dtype.packed_bits().is_none()
    }) {
        Some(dtype) => {
            let shape = shape(&proto.dims).map_err(|error| error.at_tensor(&proto.name))?;
            fits("bytes", proto.raw_data.len(), stored_bytes(dtype, element_count(&shape)?), &shape)
                .map_err(|error| error.at_tensor(&proto.name))?;
            Tensor::from_byte_vector(dtype, shape, std::mem::take(&mut proto.raw_data))
        }
        None => read(proto, files),
    }
}

fn decode(proto: &TensorProto, files: &mut ExternalFiles) -> Result<Tensor> {
    let dtype = dtype(proto.data_type)?;
    let shape = shape(&proto.dims)?;
    if proto.segment.is_some() {
        return Err(Error::unsupported("the tensor is stored in segments")
            .remedy("save the model with whole tensors"));
    }
    if proto.data_location.value() == EXTERNAL {
        return external(proto, dtype, shape, files);
    }
    if !proto.raw_data.is_empty() {
        return raw(dtype, shape, &proto.raw_data);
    }
    typed(proto, dtype, shape)
}

/// Bytes that elements take in a file: 4-bit and 2-bit kinds share bytes.
fn stored_bytes(dtype: DType, count: usize) -> usize {
    match dtype.packed_bits() {
        Some(bits) => count.div_ceil(8 / bits),
        None => count.saturating_mul(dtype.size()),
    }
}

fn fits(what: &str, found: usize, wanted: usize, shape: &[usize]) -> Result<()> {
    if found == wanted {
        Ok(())
    } else {
        Err(Error::model(format!("holds {found} {what}; its shape {shape:?} takes {wanted}")))
    }
}

fn external(
    proto: &TensorProto,
    dtype: DType,
    shape: Vec<usize>,
    files: &mut ExternalFiles,
) -> Result<Tensor> {
    if dtype == DType::String {
        return Err(Error::model("strings can't be external data"));
    }
    let wanted = stored_bytes(dtype, element_count(&shape)?);
    let span = files.span(proto)?;
    if let Some(length) = span.length {
        fits("bytes of external data", length, wanted, &shape)?;
    }
    let end = span.start.saturating_add(wanted);
    let part = span.map.get(span.start..end).ok_or_else(|| {
        Error::model(format!(
            "its external data are bytes {}..{end} of a file of {} bytes",
            span.start,
            span.map.len()
        ))
        .remedy("the data file is truncated or belongs to another model: fetch it again")
    })?;
    if dtype.packed_bits().is_some() || dtype == DType::Bool {
        return raw(dtype, shape, part);
    }
    Tensor::mapped(dtype, shape, span.map.clone(), span.start)
}

/// Little-endian bytes, 4-bit and 2-bit elements packed low bits first.
fn raw(dtype: DType, shape: Vec<usize>, bytes: &[u8]) -> Result<Tensor> {
    let count = element_count(&shape)?;
    if dtype == DType::String {
        return Err(Error::model("strings can't be raw data"));
    }
    fits("bytes", bytes.len(), stored_bytes(dtype, count), &shape)?;
    match dtype.packed_bits() {
        Some(bits) => Tensor::from_bytes(dtype, shape, &unpack(dtype, bits, bytes, count)?),
        None if dtype == DType::Bool => {
            Tensor::new(shape, bytes.iter().map(|&byte| Boolean::from(byte != 0)).collect::<Vec<_>>())
        }
        None => Tensor::from_bytes(dtype, shape, bytes),
    }
}

/// One byte an element, sign-extended for the signed kinds. The caller has checked that there are enough
/// bytes.
fn unpack(dtype: DType, bits: usize, bytes: &[u8], count: usize) -> Result<Vec<u8>> {
    let each = 8 / bits;
    let unused = 8 - bits;
    let mut elements = allocate(count)?;
    let all = bytes.iter().flat_map(|&byte| (0..each).map(move |index| byte >> (index * bits)));
    elements.extend(all.take(count).map(|code| match dtype {
        DType::I4 | DType::I2 => ((code << unused) as i8 >> unused) as u8,
        _ => code << unused >> unused,
    }));
    Ok(elements)
}

/// Elements in the repeated fields: which one depends on the type.
fn typed(proto: &TensorProto, dtype: DType, shape: Vec<usize>) -> Result<Tensor> {
    let count = element_count(&shape)?;
    let enough = |found: usize| fits("elements", found, count, &shape);
    match dtype {
        DType::F32 => {
            enough(proto.float_data.len()).and_then(|()| Tensor::new(shape, proto.float_data.clone()))
        }
        DType::F64 => {
            enough(proto.double_data.len()).and_then(|()| Tensor::new(shape, proto.double_data.clone()))
        }
        DType::I64 => {
            enough(proto.int64_data.len()).and_then(|()| Tensor::new(shape, proto.int64_data.clone()))
        }
        DType::I32 => {
            enough(proto.int32_data.len()).and_then(|()| Tensor::new(shape, proto.int32_data.clone()))
        }
        DType::U64 => {
            enough(proto.uint64_data.len()).and_then(|()| Tensor::new(shape, proto.uint64_data.clone()))
        }
        DType::U32 => {
            enough(proto.uint64_data.len())?;
            let narrow = |&value: &u64| {
                u32::try_from(value).map_err(|_| Error::model(format!("{value} is beyond uint32")))
            };
            Tensor::new(shape, proto.uint64_data.iter().map(narrow).collect::<Result<Vec<_>>>()?)
        }
        DType::String => {
            enough(proto.string_data.len())?;
            let text = |bytes: &Vec<u8>| {
                String::from_utf8(bytes.clone()).map_err(|_| Error::model("holds a string that is not UTF-8"))
            };
            Tensor::strings(shape, proto.string_data.iter().map(text).collect::<Result<Vec<_>>>()?)
        }
        // Everything else lies in int32_data: integers by value, floats by their bits, packed kinds a byte at
        // a time.
        _ if dtype.size() == 2 => {
            enough(proto.int32_data.len())?;
            let mut bytes = allocate(count * 2)?;
            for &value in &proto.int32_data {
                bytes.extend_from_slice(&narrow(value, 16)?.to_le_bytes());
            }
            Tensor::from_bytes(dtype, shape, &bytes)
        }
        _ => {
            fits("elements of int32_data", proto.int32_data.len(), stored_bytes(dtype, count), &shape)?;
            let bytes = proto
                .int32_data
                .iter()
                .map(|&value| Ok(narrow(value, 8)? as u8))
                .collect::<Result<Vec<_>>>()?;
            raw(dtype, shape, &bytes)
        }
    }
}

/// The low bits of an int32 that stands for a narrower element, signed or not.
fn narrow(value: i32, bits: u32) -> Result<u16> {
    if (-(1 << (bits - 1))..1 << bits).contains(&value) {
        Ok(value as u16)
    } else {
        Err(Error::model(format!("the element {value} doesn't fit {bits} bits")))
    }
}

/// The TensorProto of a host tensor, as raw data (strings as they are).
pub fn write(name: &str, tensor: &Tensor) -> Result<TensorProto> {
    let mut proto = TensorProto::new();
    proto.name = name.to_string();
    proto.data_type = tensor.dtype().onnx();
    proto.dims = tensor.shape().iter().map(|&size| size as i64).collect();
    match tensor.dtype().packed_bits() {
        _ if tensor.dtype() == DType::String => {
            proto.string_data = tensor.as_strings()?.iter().map(|text| text.clone().into_bytes()).collect()
        }
        None => proto.raw_data = tensor.bytes().to_vec(),
        Some(bits) => {
            let mask = u8::MAX >> (8 - bits);
            let pack = |group: &[u8]| {
                group.iter().enumerate().fold(0, |byte, (index, code)| byte | (code & mask) << (index * bits))
            };
            proto.raw_data = tensor.bytes().chunks(8 / bits).map(pack).collect();
        }
    }
    Ok(proto)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proto(dtype: DType, dims: &[i64]) -> TensorProto {
        TensorProto { data_type: dtype.onnx(), dims: dims.to_vec(), name: "t".into(), ..Default::default() }
    }
    fn read_one(proto: &TensorProto) -> Result<Tensor> {
        read(proto, &mut ExternalFiles::new(None))
    }

    #[test]
    fn every_fixed_size_type_comes_back_from_raw_data() {
        for number in (1..=26).filter(|&number| number != 8 && number != 14 && number != 15) {
            let dtype = DType::from_onnx(number).unwrap();
            let values = Tensor::new([3], vec![1i32, 0, 1]).unwrap();
            let tensor = crate::tensor::cast(&values, dtype, true).unwrap();
            let back = read_one(&write("t", &tensor).unwrap()).unwrap();
            assert_eq!(back, tensor, "{dtype}");
        }
    }

    #[test]
    fn packed_elements_come_low_bits_first_and_keep_their_sign() {
        let mut four = proto(DType::I4, &[3]);
        four.raw_data = vec![0x8f, 0x07];
        assert_eq!(read_one(&four).unwrap().to_i64s().unwrap(), [-1, -8, 7]);
        let mut typed = proto(DType::U4, &[3]);
        typed.int32_data = vec![0x8f, 0x07];
        assert_eq!(read_one(&typed).unwrap().to_i64s().unwrap(), [15, 8, 7]);
        let mut two = proto(DType::I2, &[5]);
        two.raw_data = vec![0b11_10_01_00, 0b01];
        assert_eq!(read_one(&two).unwrap().to_i64s().unwrap(), [0, 1, -2, -1, 1]);
    }

    #[test]
    fn typed_fields_hold_values_and_bits() {
        let mut half = proto(DType::F16, &[2]);
        half.int32_data = vec![0x3c00, 0xc000];
        assert_eq!(read_one(&half).unwrap().to_f64s().unwrap(), [1.0, -2.0]);
        let mut small = proto(DType::I8, &[2]);
        small.int32_data = vec![-128, 127];
        assert_eq!(read_one(&small).unwrap().to_i64s().unwrap(), [-128, 127]);
        small.int32_data = vec![0, 300];
        assert!(read_one(&small).is_err());
        let mut wide = proto(DType::U32, &[1]);
        wide.uint64_data = vec![u32::MAX as u64];
        assert_eq!(read_one(&wide).unwrap().to_i64s().unwrap(), [u32::MAX as i64]);
        let mut truth = proto(DType::Bool, &[2]);
        truth.raw_data = vec![0, 255];
        assert_eq!(read_one(&truth).unwrap().bytes(), [0, 1]);
    }

    #[test]
    fn lengths_are_checked_before_anything_is_allocated() {
        let mut huge = proto(DType::F32, &[1 << 40]);
        assert!(read_one(&huge).unwrap_err().to_string().contains("'t'"));
        huge.dims = vec![1 << 40, 1 << 40];
        assert_eq!(read_one(&huge).unwrap_err().kind(), crate::ErrorKind::Memory);
        huge.dims = vec![-1];
        assert!(read_one(&huge).is_err());
        let mut short = proto(DType::I4, &[1 << 40]);
        short.raw_data = vec![1];
        assert!(read_one(&short).is_err());
        assert!(dtype(14).unwrap_err().message().contains("complex64"));
        assert!(dtype(99).is_err());
    }
}
