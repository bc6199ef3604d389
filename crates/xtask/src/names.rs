//! Names that a file defines. Names that a foreign trait prescribes are not ours.

use syn::visit::Visit;

/// One defined name, its line, and whether it is a test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Name {
    pub(crate) line: usize,
    pub(crate) text: String,
    pub(crate) is_test: bool,
}

pub(crate) fn names(source: &str) -> Result<Vec<Name>, String> {
    let mut visitor = Names::default();
    visitor.visit_file(&syn::parse_file(source).map_err(|e| e.to_string())?);
    Ok(visitor.0)
}

#[derive(Default)]
struct Names(Vec<Name>);

impl Names {
    fn take(&mut self, name: &syn::Ident, is_test: bool) {
        self.0.push(Name { line: name.span().start().line, text: name.to_string(), is_test });
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        let last = |attribute: &syn::Attribute| attribute.path().segments.last().is_some_and(|s| s.ident == "test");
        self.take(&item.sig.ident, item.attrs.iter().any(last));
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if item.trait_.is_none() {
            syn::visit::visit_item_impl(self, item);
        } else {
            for part in &item.items {
                if let syn::ImplItem::Fn(function) = part {
                    self.visit_block(&function.block);
                }
            }
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.take(&item.sig.ident, false);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.take(&item.sig.ident, false);
        syn::visit::visit_trait_item_fn(self, item);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.take(&item.ident, false);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.take(&item.ident, false);
        item.variants.iter().for_each(|variant| self.take(&variant.ident, false));
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.take(&item.ident, false);
        syn::visit::visit_item_trait(self, item);
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.take(&item.ident, false);
        syn::visit::visit_item_mod(self, item);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.take(&item.ident, false);
    }

    fn visit_item_static(&mut self, item: &'ast syn::ItemStatic) {
        self.take(&item.ident, false);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.take(&item.ident, false);
    }
}

/// The parts of a test's name that a reader counts: `law_l5_` is a reference, not a statement.
pub(crate) fn stated_parts(test: &str) -> usize {
    let parts: Vec<&str> = test.split('_').filter(|part| !part.is_empty()).collect();
    let law = parts.first() == Some(&"law") && parts.get(1).is_some_and(|part| part.starts_with('l'));
    parts.len() - if law { 2 } else { 0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_foreign_traits_are_not_ours() {
        let source = "mod m { struct S; } impl Walk for S { fn walk() { fn inner() {} } } impl S { fn own() {} }\n\
                      enum E { One }\n#[tokio::test]\nasync fn fails() {}";
        let found: Vec<(String, bool)> =
            names(source).unwrap().into_iter().map(|name| (name.text, name.is_test)).collect();
        let wanted = [("m", false), ("S", false), ("inner", false), ("own", false), ("E", false), ("One", false)];
        let wanted = wanted.into_iter().chain([("fails", true)]).map(|(name, test)| (name.to_owned(), test));
        assert_eq!(found, wanted.collect::<Vec<_>>());
    }

    #[test]
    fn the_number_of_a_law_is_not_counted() {
        assert_eq!(stated_parts("law_l5_a_batch_is_logged_once"), 5);
        assert_eq!(stated_parts("lawful_names_count_all"), 4);
    }
}
