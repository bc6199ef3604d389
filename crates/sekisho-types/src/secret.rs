/// A value that cannot be printed, compared or serialised by accident (law L8).
///
/// It has no `Debug`, `Display` or `Serialize`, so a struct that holds one cannot derive them either.
/// The bytes are overwritten when the secret is dropped.
pub struct Secret<T: AsMut<[u8]>>(T);

impl<T: AsMut<[u8]>> Secret<T> {
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The only way to the value; every use of it is found by searching for this name.
    pub const fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: AsMut<[u8]> + Clone> Clone for Secret<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: AsMut<[u8]>> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.as_mut().fill(0);
        std::hint::black_box(self.0.as_mut());
    }
}

/// ```compile_fail
/// println!("{:?}", sekisho_types::Secret::new(vec![1u8]));
/// ```
/// ```compile_fail
/// println!("{}", sekisho_types::Secret::new(vec![1u8]));
/// ```
#[cfg(doctest)]
struct LawL8SecretsCannotBePrinted;
