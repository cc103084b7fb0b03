"""What a reader of a page sees."""

from __future__ import annotations

import pytest

from zen_pipeline.corpus.html import html_to_text


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>One</p><p>two &amp; <b>th</b>ree</p>", "One\n\ntwo & three"),
        ("<h2>Title</h2>text", "## Title\n\ntext"),
        ("<ul><li>one<li>two</ul>after", "- one\n- two\n\nafter"),
        ("<table><tr><th>a<th>b<tr><td>1<td>2</table>", "a\tb\n1\t2"),
        ("<pre>if x:\n    y</pre>", "```\nif x:\n    y\n```"),
        ("a<br>b  c\n d", "a\nb c d"),
        ("<style>p{}</style><script>x</script><nav>menu</nav><!-- note -->text<form>send</form>", "text"),
        ("<head><title>t</title></head><body>汉字</body>", "汉字"),
        ("plain &lt;text&gt;", "plain <text>"),
        ("", ""),
    ],
)
def test_the_visible_text_of_a_page(page: str, text: str) -> None:
    assert html_to_text(page) == text


def test_nesting_beyond_what_browsers_do_is_refused() -> None:
    assert html_to_text("<div>" * 500 + "deep") == "deep"
    with pytest.raises(ValueError, match="nested more than 512 deep"):
        html_to_text("<div>" * 600 + "deep")
