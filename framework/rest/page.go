package rest

import (
	"embed"
	"io/fs"
	"net/http"
	"os"
	"strings"

	"github.com/labstack/echo/v4"
)

//go:embed ui
var ownUI embed.FS

// pages serves /ui/ and sends / there (marathon.md 1.1): a small page of its own, or the
// files of --assets_path, where a built Marathon UI may lie.
func (a *api) pages(e *echo.Echo) {
	files, _ := fs.Sub(ownUI, "ui") // the folder is part of the program
	if a.Assets != "" {
		files = os.DirFS(a.Assets)
	}
	server := http.StripPrefix("/ui", http.FileServerFS(files))
	serve := func(c echo.Context) error {
		return methods(c, map[string]echo.HandlerFunc{http.MethodGet: func(c echo.Context) error {
			h := c.Response().Header()
			h.Set("Content-Security-Policy", "default-src 'self'; frame-ancestors 'none'")
			if a.Assets != "" {
				h.Set("Content-Security-Policy", "frame-ancestors 'none'")
			}
			if c.Request().URL.Path == "/ui" { // the router takes a last slash off
				if asked, _, _ := strings.Cut(c.Request().RequestURI, "?"); asked == "/ui" {
					return c.Redirect(http.StatusFound, "/ui/")
				}
				c.Request().URL.Path = "/ui/"
			}
			server.ServeHTTP(c.Response(), c.Request())
			return nil
		}})
	}
	e.Any("/ui", serve)
	e.Any("/ui/*", serve)
	e.Any("/", func(c echo.Context) error { return c.Redirect(http.StatusFound, "/ui/") })
}
