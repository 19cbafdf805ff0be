//! What a dispatch runs, told apart by what it is made of; the text is assembled when something asks for it.

use super::{Kernel, Needs, Prelude, Source, WgslFlavor};
use crate::base::ShaderDialect;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, OnceLock};

/// A shader. Two of the same key have the same text, so a pipeline is found without assembling it.
#[derive(Debug, Clone)]
pub struct Shader {
    key: Key,
    source: OnceLock<Source>,
    /// Of a text: the forms of what it was made from, changed as that was.
    others: Vec<Form>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    /// A kernel behind a prelude, in a dialect.
    Variant { kernel: &'static Kernel, prelude: Prelude, dialect: ShaderDialect },
    /// A text that no kernel has: a measurement's, a planted fault's.
    Text(Arc<str>),
}

/// A shader's text for who runs it elsewhere, and what it takes there.
#[derive(Debug, Clone)]
pub struct Form {
    pub text: Arc<str>,
    pub needs: Needs,
    /// Whether every implementation of WebGPU takes it, or naga alone.
    pub flavor: WgslFlavor,
    /// Whether it is the text that runs here.
    pub as_run: bool,
}

impl Shader {
    /// A variant of a kernel. What of the dialect makes no difference to it is left out of its key.
    pub fn variant(kernel: &'static Kernel, prelude: Prelude, dialect: ShaderDialect) -> Self {
        let dialect = prelude.dialect(dialect);
        Self { key: Key::Variant { kernel, prelude, dialect }, source: OnceLock::new(), others: vec![] }
    }

    /// A whole WGSL text, which takes no immediates.
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self { key: Key::Text(text.into()), source: OnceLock::new(), others: vec![] }
    }

    /// The kernel that it is a variant of.
    pub fn kernel(&self) -> Option<&'static Kernel> {
        match &self.key {
            Key::Variant { kernel, .. } => Some(kernel),
            Key::Text(_) => None,
        }
    }

    /// What it takes beyond WebGPU's core.
    pub fn needs(&self) -> Needs {
        match &self.key {
            Key::Variant { kernel, prelude, dialect } => prelude.needs(kernel.shader, *dialect),
            Key::Text(_) => self.source.get().map_or_else(Needs::default, |source| source.needs),
        }
    }

    /// The whole WGSL, as naga takes it, with what it needs.
    pub fn source(&self) -> &Source {
        self.source.get_or_init(|| match &self.key {
            Key::Variant { kernel, prelude, dialect } => {
                prelude.assemble(kernel.shader, *dialect, WgslFlavor::Naga)
            }
            Key::Text(text) => Source { text: text.clone(), prelude_lines: 0, needs: Needs::default() },
        })
    }

    /// The text that runs here and, where that takes more than WebGPU's core, others that do the same with
    /// less: without immediates, and in standard WGSL without 64-bit integers and subgroups. Parameters,
    /// bindings and grid are the same for all.
    pub fn forms(&self) -> Vec<Form> {
        let run = self.source();
        let own = Form { text: run.text.clone(), needs: run.needs, flavor: WgslFlavor::Naga, as_run: true };
        let mut forms = vec![own];
        match &self.key {
            Key::Text(_) => forms.extend(self.others.iter().cloned()),
            Key::Variant { kernel, prelude, dialect } => {
                let mut add = |dialect, flavor| {
                    let Source { text, needs, .. } = prelude.assemble(kernel.shader, dialect, flavor);
                    forms.push(Form { text, needs, flavor, as_run: false });
                };
                if run.needs.immediates {
                    add(ShaderDialect { table: false, ..*dialect }, WgslFlavor::Naga);
                }
                // Cooperative matrices are no dialect: the kernel is made of them.
                if !run.needs.cooperative {
                    let core = ShaderDialect {
                        table: false,
                        wide: false,
                        quads: false,
                        subgroups: false,
                        ..*dialect
                    };
                    add(core, WgslFlavor::Standard);
                }
            }
        }
        forms
    }

    /// The same with its text changed.
    ///
    /// Errors: those of `change`.
    pub fn edited<E>(&self, change: impl Fn(&str) -> Result<String, E>) -> Result<Self, E> {
        let source = self.source();
        let text: Arc<str> = change(&source.text)?.into();
        let others = self.forms().into_iter().filter(|form| !form.as_run);
        let others = others
            .map(|form| Ok(Form { text: change(&form.text)?.into(), ..form }))
            .collect::<Result<_, E>>()?;
        let edited = Source { text: text.clone(), ..source.clone() };
        Ok(Self { key: Key::Text(text), source: OnceLock::from(edited), others })
    }
}

impl PartialEq for Shader {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}
impl Eq for Shader {}
impl Hash for Shader {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.key.hash(state);
    }
}

#[cfg(test)]
mod tests {
    use super::super::pointwise::POINTWISE;
    use super::*;
    use crate::base::ElementFormat;

    #[test]
    fn a_key_says_what_the_text_depends_on() {
        let prelude = |storage| Prelude::new().storage(storage).constant("COUNT", 3);
        let shader = |storage, saturates| {
            let dialect = ShaderDialect { saturates, ..ShaderDialect::default() };
            Shader::variant(&POINTWISE, prelude(storage), dialect)
        };
        for storage in [ElementFormat::F32, ElementFormat::F16Packed] {
            let (one, other) = (shader(storage, false), shader(storage, true));
            assert_eq!(one == other, one.source().text == other.source().text, "{storage:?}");
        }
        assert_ne!(shader(ElementFormat::F32, false), shader(ElementFormat::F16Packed, false));
    }

    #[test]
    fn what_takes_more_than_the_core_has_forms_that_do_not() {
        let dialect = ShaderDialect { wide: true, table: true, ..ShaderDialect::default() };
        let shader = Shader::variant(&POINTWISE, Prelude::new().storage(ElementFormat::F32), dialect);
        let edited = shader.edited(|text| Ok::<_, ()>(format!("{text}// changed"))).unwrap();
        for shader in [&shader, &edited] {
            let forms = shader.forms();
            assert!(forms[0].as_run && forms[0].text == shader.source().text && forms[0].needs.int64);
            let last = forms.last().unwrap();
            assert_eq!(last.flavor, WgslFlavor::Standard);
            assert!(last.needs.extensions_of_naga().is_empty() && !last.needs.subgroups);
        }
        assert!(edited.forms().iter().all(|form| form.text.ends_with("// changed")));
    }

    #[test]
    fn an_edited_text_needs_what_the_first_did() {
        let dialect = ShaderDialect { wide: true, table: true, ..ShaderDialect::default() };
        let shader = Shader::variant(&POINTWISE, Prelude::new().storage(ElementFormat::F32), dialect);
        let edited = shader.edited(|text| Ok::<_, ()>(format!("{text}\n"))).unwrap();
        assert_ne!(shader, edited);
        assert_eq!(shader.source().needs, edited.source().needs);
    }
}
