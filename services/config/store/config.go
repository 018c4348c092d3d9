package store

import (
	"fmt"
	"net/url"
	"os"
	"strings"

	"github.com/tollgate/tollgate/pkg/fault"
	"github.com/tollgate/tollgate/pkg/reason"
)

// Config is where revisions are kept: in PostgreSQL where url or url_file is set, else in a SQLite file.
type Config struct {
	// Path of the SQLite file; it and its folder are made, for this user alone, where they are missing. Beside it lie
	// -wal and -shm.
	Path string `yaml:"path" env:"TOLLGATE_CONFIG_DATABASE"`
	// URL of a PostgreSQL database of version 13 or newer, postgres://user@host:5432/name?sslmode=verify-full, without a
	// password; empty for SQLite. Several replicas may use one.
	URL string `yaml:"url" env:"TOLLGATE_CONFIG_DATABASE_URL"`
	// URLFile holds such a URL, and may hold the password in it.
	URLFile string `yaml:"url_file" env:"TOLLGATE_CONFIG_DATABASE_URL_FILE"`
}

// DefaultConfig is a SQLite file in the working directory.
func DefaultConfig() Config { return Config{Path: "tollgate-data/config.db"} }

// Validate reports every violation at once; Open reads the file.
func (c Config) Validate() error {
	var f fault.Violations
	switch {
	case c.URL != "" && c.URLFile != "":
		f.Add("url_file", "must be empty where url is set")
	case c.URL != "":
		if u, why := parseURL(c.URL); why != "" {
			f.Add("url", "%s", why)
		} else if _, secret := u.User.Password(); secret || u.Query().Has("password") {
			f.Add("url", "must hold no password: write the whole URL into a file and name that in url_file")
		}
	case c.URLFile == "" && c.Path == "":
		f.Add("path", "is required, or url or url_file")
	}
	return f.Err(reason.ConfigInvalid)
}

// parseURL never repeats the text: it may hold a password.
func parseURL(text string) (u *url.URL, why string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, "must be a URL such as postgres://user@host:5432/name?sslmode=verify-full"
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return nil, "must begin with postgres://"
	case strings.Trim(u.Path, "/") == "":
		return nil, "must name a database after the host"
	}
	return u, ""
}

// address is the URL of the PostgreSQL database; nil for SQLite.
func (c Config) address() (*url.URL, error) {
	text := c.URL
	if c.URLFile != "" {
		content, err := os.ReadFile(c.URLFile)
		if err != nil {
			return nil, fmt.Errorf("read database.url_file: %w", err)
		}
		text = strings.TrimSpace(string(content))
		if text == "" {
			return nil, fmt.Errorf("database.url_file: %s is empty", c.URLFile)
		}
	}
	if text == "" {
		return nil, nil
	}
	u, why := parseURL(text)
	if why != "" {
		return nil, fmt.Errorf("database.url: %s", why)
	}
	return u, nil
}
