package api

import (
	"fmt"

	"conanproxy/internal/conan"
	"conanproxy/internal/index"
)

// UsageLine is how much a member has, or what it has of one name or uploader.
type UsageLine struct {
	Member     string `json:"member"`
	Name       string `json:"name,omitempty"`     // of packages, if it is asked for by name
	Uploader   string `json:"uploader,omitempty"` // if it is asked for by uploader; empty: anonymous or not known
	Kind       string `json:"kind"`               // store or upstream
	References int64  `json:"references"`
	Recipes    int64  `json:"recipes"`     // recipe revisions
	Packages   int64  `json:"packages"`    // package revisions
	Bytes      int64  `json:"bytes"`       // of its files, the same bytes once
	TrashBytes int64  `json:"trash_bytes"` // of what can be restored, each file counted; of whole members only
	Quota      int64  `json:"quota"`       // bytes that the store may have; 0: no bound; of whole members only
}

// usage lists what every member has, also of those that are no longer configured, for
// administrators; by name or uploader the largest parts. It reads the whole index.
func (a *API) usage(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
	}
	limit, err := c.number("limit", 100, 1, 1000)
	if err != nil {
		return nil, err
	}
	switch by := index.UsageBy(c.Query.Get("by")); by {
	case "", "member":
	case index.ByName, index.ByUploader:
		return a.usageOfParts(c, by, int(limit))
	default:
		return nil, fmt.Errorf("%w: by is none of member, name, uploader", conan.ErrInvalid)
	}
	rows, err := a.Usage.Usage(c.Context)
	if err != nil {
		return nil, err
	}
	page := Page[UsageLine]{Lines: []UsageLine{}}
	for _, u := range rows {
		trash, err := a.Usage.TrashBytes(c.Context, u.ID)
		if err != nil {
			return nil, err
		}
		page.Lines = append(page.Lines, UsageLine{
			Member: u.Name, Kind: string(u.Kind), References: u.References, Recipes: u.Recipes, Packages: u.Packages,
			Bytes: u.Bytes, TrashBytes: trash, Quota: a.Usage.Quota(u.ID),
		})
	}
	return page, nil
}

func (a *API) usageOfParts(c *Call, by index.UsageBy, limit int) (any, error) {
	rows, err := a.Usage.UsageOfParts(c.Context, by, limit)
	if err != nil {
		return nil, err
	}
	page := Page[UsageLine]{Lines: []UsageLine{}}
	for _, u := range rows {
		line := UsageLine{
			Member: u.Usage.Name, Kind: string(u.Kind), References: u.References, Recipes: u.Recipes, Packages: u.Packages, Bytes: u.Bytes,
		}
		if by == index.ByName {
			line.Name = u.Part
		} else {
			line.Uploader = u.Part
		}
		page.Lines = append(page.Lines, line)
	}
	return page, nil
}
