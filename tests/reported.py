"""What is true of the report of any run."""

import html.parser
import pathlib

from mezzanine_jax import finished, html_report, model_card

LOADS = {"src", "srcset", "href", "xlink:href", "action", "data", "poster", "background"}


class Page(html.parser.HTMLParser):
  """A page's elements, and the text outside of scripts and styles."""

  def __init__(self, text: str):
    super().__init__()
    self.elements, self.words, self._inside = [], [], []
    self.feed(text)
    self.text = "".join(self.words)

  def handle_starttag(self, tag, attrs):
    self.elements.append((tag, dict(attrs)))
    self._inside = [tag] if tag in ("script", "style") else []

  def handle_endtag(self, tag):
    self._inside = []

  def handle_data(self, data):
    if not self._inside:
      self.words.append(data)


def check_page(*outs) -> Page:
  """Renders the page of some runs, and checks that it is whole and asks nothing of the web."""
  runs = finished.read(outs)
  text = html_report.render(runs)
  page = Page(text)
  assert "http" not in text.replace("http-equiv", "") and "@import" not in text
  assert text.count("url(") == text.count("url(#")
  for tag, attributes in page.elements:
    assert tag not in ("img", "iframe", "object", "embed", "base", "form", "a")
    assert not [name for name in attributes if name.startswith("on")]
    for name in LOADS & set(attributes):
      assert attributes[name].startswith("#") or attributes[name] == "data:,", (tag, attributes)
  ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
  assert len(set(ids)) == len(ids)
  for run in runs:
    for model in finished.models(run.results):
      assert finished.model_name(run.results, model) in page.text
    assert finished.number(
        run.results["baseline"]["gap_movable"]["pairwise_tv"] or 0) in page.text
    assert finished.command(run.results, finished.another(run.path)) in page.text
    for example in run.results["examples"]:
      assert all(view["text"].strip() in page.text for view in example["views"])
  return page


def pictures(page: Page) -> list[str]:
  """What the page's pictures are called."""
  labels = [a.get("aria-label", "") for tag, a in page.elements if a.get("class") == "picture"]
  return [label.split(".")[0] for label in labels]


def check_run(out: str | pathlib.Path) -> Page:
  """Page and card of one run."""
  page = check_page(out)
  card = model_card.render(finished.read([out]))
  results = finished.read([out])[0].results
  number = len(finished.models(results))
  assert sum(line.startswith("| ") for line in card.splitlines()) == number + 2
  assert sum(line.endswith(r" \\") for line in card.splitlines()) == number
  assert ("# Student of " in card) == bool(results.get("student"))
  return page
