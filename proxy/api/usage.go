package api

// UsageLine is how much a member has.
type UsageLine struct {
	Member     string `json:"member"`
	Kind       string `json:"kind"` // store or upstream
	References int64  `json:"references"`
	Recipes    int64  `json:"recipes"`     // recipe revisions
	Packages   int64  `json:"packages"`    // package revisions
	Bytes      int64  `json:"bytes"`       // of its files, the same bytes once
	TrashBytes int64  `json:"trash_bytes"` // of what can be restored, each file counted
}

// usage lists what every member has, also of those that are no longer configured, for
// administrators. It reads the whole index.
func (a *API) usage(c *Call) (any, error) {
	if err := c.requireAdmin(); err != nil {
		return nil, err
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
		page.Lines = append(page.Lines, UsageLine{u.Name, string(u.Kind), u.References, u.Recipes, u.Packages, u.Bytes, trash})
	}
	return page, nil
}
