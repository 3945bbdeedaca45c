"""Tiny models that think before they answer, with a chat template like Qwen3's."""

from tokenizers import AddedToken
from transformers import PreTrainedTokenizerFast

from caa_core.model.loading import SteerableModel
from tests.helpers.models import make_tiny
from tests.helpers.tokens import make_tokenizer

BEGIN, END = "<think>", "</think>"

# As Qwen3's: thoughts of earlier turns are left out, and a thought that is not wanted is one in which nothing stands.
QWEN3 = (
    "{% for m in messages %}{% set content = m.content %}"
    "{% if m.role == 'assistant' and '</think>' in content %}"
    "{% set content = content.split('</think>')[-1].lstrip('\n') %}{% endif %}"
    "<|{{ m.role }}|>{{ content }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>"
    "{% if enable_thinking is defined and enable_thinking is false %}{{ '<think>\n\n</think>\n\n' }}{% endif %}"
    "{% endif %}"
)
# As that of DeepSeek's R1, which opens the thought itself.
OPENED = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content.split('</think>')[-1] }}<|end|>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{{ '<think>\n' }}{% endif %}"
)


def make_thinking_tokenizer(template: str = QWEN3) -> PreTrainedTokenizerFast:
    """With a token for either end of a thought, which are texts to it and no marks, as in Qwen3's."""
    tokenizer = make_tokenizer()
    tokenizer.add_tokens([AddedToken(tag, normalized=False) for tag in (BEGIN, END)])
    tokenizer.chat_template = template
    return tokenizer


def make_thinking(template: str = QWEN3, architecture: str = "qwen3", likelier: float = 2.0) -> SteerableModel:
    """A random model that thinks. likelier: by how much larger the logit is of the token that ends a thought."""
    tokenizer = make_thinking_tokenizer(template)
    model = make_tiny(architecture, tokenizer=tokenizer)
    model.module.get_output_embeddings().weight[tokenizer.convert_tokens_to_ids(END)] *= likelier
    return model


def save_thinking(folder):
    """The same as files."""
    model = make_thinking()
    model.module.save_pretrained(folder)
    model.tokenizer.save_pretrained(folder)
    return folder
