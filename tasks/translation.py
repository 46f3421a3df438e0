"""Speech translation: what was said, in another language. A variant is the language of the answer."""

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.task import Task

LANGUAGES = {"de": "German", "zh": "Chinese"}
"""The variants: a new language is one line here, and a column `translation_<code>` in the corpus."""

TOKENIZERS = {"zh": "zh"}
"""sacreBLEU's tokenizer, for languages whose words its default, 13a, can't tell apart."""


@dataclass(frozen=True, kw_only=True)
class Translation(Task):
    """A task whose prompts may name the `{language}` of their variant, and whose BLEU is tokenised for it."""

    def templates_for(self, variant: str | None = None, given: Sequence[str] = ()) -> tuple[str, ...]:
        templates = super().templates_for(variant, given)
        return tuple(text.replace("{language}", LANGUAGES[str(variant)]) for text in templates)

    def tokenizer(self, variant: str | None) -> str:
        return TOKENIZERS.get(str(variant), super().tokenizer(variant))


TASK = Translation(
    name="translation",
    instruction="Translate the speech into {language}.",
    column="translation_{variant}",
    kind="sequence",
    metrics=("bleu", "chrf"),
    primary="bleu",
    variants=tuple(LANGUAGES),
)
