//! The codec of our gRPC calls: a message gets one buffer, in its size.
//!
//! The library's own begins with 8 KiB in each direction of each call, which a stream keeps while it is open, and
//! copies what a message has so far whenever it grows beyond that.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, EncodeBuf, Encoder};
use tonic_prost::ProstDecoder;

/// What a buffer begins with: the head of a message.
const FIRST_BYTES: usize = 8;
/// Messages that are ready are sent together up to this size, as the library does.
const SENT_TOGETHER: usize = 32 * 1024;

fn settings() -> BufferSettings {
    BufferSettings::new(FIRST_BYTES, SENT_TOGETHER)
}

/// Messages of protobuf, as any other gRPC program sends them.
#[derive(Debug, Clone)]
pub struct SizedCodec<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SizedCodec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SizedCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = SizedEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        SizedEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstDecoder::new(settings())
    }
}

#[derive(Debug, Clone)]
pub struct SizedEncoder<T>(PhantomData<T>);

impl<T: Message> Encoder for SizedEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, out: &mut EncodeBuf<'_>) -> Result<(), Status> {
        out.reserve(message.encoded_len());
        message.encode(out).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        settings()
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use http_body::Body;
    use tonic::codec::EncodeBody;

    use super::*;
    use crate::server::RecordRequest;

    /// What is sent for a call with this message.
    fn sent(
        codec: &mut impl Codec<Encode = RecordRequest, Encoder: Encoder<Item = RecordRequest>>,
        message: RecordRequest,
    ) -> Vec<u8> {
        let source = tokio_stream::iter([Ok(message)]);
        let mut body = pin!(EncodeBody::new_client(codec.encoder(), source, None, None));
        let mut sent = vec![];
        while let Poll::Ready(Some(frame)) = body.as_mut().poll_frame(&mut Context::from_waker(Waker::noop())) {
            sent.extend_from_slice(&frame.unwrap().into_data().unwrap());
        }
        sent
    }

    #[test]
    fn messages_are_those_of_the_librarys_codec() {
        for (count, bytes) in [(0, 0), (1, 3), (100, 900), (2048, 1000)] {
            let records = vec![vec![b'x'; bytes].into(); count];
            let message = RecordRequest { records, lost: 7, batch_key: "a:1".into() };
            let expected = sent(&mut tonic_prost::ProstCodec::<_, RecordRequest>::default(), message.clone());
            assert!(expected.len() > count * bytes);
            assert!(sent(&mut SizedCodec::<_, RecordRequest>::default(), message) == expected, "{count} × {bytes}");
        }
    }
}
