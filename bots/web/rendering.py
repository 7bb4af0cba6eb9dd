"""Pages out of templates and texts, in the visitor's language."""

from collections.abc import Mapping

from aiohttp import web
from jinja2 import Environment, PackageLoader, StrictUndefined

from bots.web.texts import LANGUAGES, PARAMETER, Catalogue, language_of


class Rendering:
    """Fills the templates in. They find the texts as `t`, by table and key."""

    def __init__(self) -> None:
        self.catalogue = Catalogue()
        self._templates = Environment(
            loader=PackageLoader("bots.web"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )

    def page(
        self, request: web.Request, template: str, values: Mapping[str, object], *, status: int = 200
    ) -> web.Response:
        """The page of a template of ours."""
        language = language_of(request)
        frame = {
            "t": self.catalogue[language],
            "language": language,
            "languages": [(code, name, _here(request, code)) for code, name in LANGUAGES.items()],
        }
        html = self._templates.get_template(template).render({**frame, **values})
        return web.Response(text=html, content_type="text/html", status=status)


def _here(request: web.Request, language: str) -> str:
    """The address of the same page in another language; an answer to a form has none of its own."""
    if request.method != "GET":
        return f"/?{PARAMETER}={language}"
    return str(request.rel_url.update_query({PARAMETER: language}))
