package cache

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// maxNegatives bounds how many "not found" are remembered; the longest unused go first.
const maxNegatives = 1 << 16

// negatives remember what upstream said it does not have, and when. They are only in memory: a lost one is asked again.
// Their number is bounded apart from other answers, so that made-up names cannot drive those out.
type negatives struct {
	seen *lru.Cache[string, time.Time]
}

func newNegatives() (*negatives, error) {
	seen, err := lru.New[string, time.Time](maxNegatives)
	if err != nil {
		return nil, err
	}
	return &negatives{seen: seen}, nil
}

// get returns when upstream last said "not found".
func (n *negatives) get(id string) (said time.Time, ok bool) { return n.seen.Get(id) }

func (n *negatives) put(id string, said time.Time) { n.seen.Add(id, said) }

func (n *negatives) remove(id string) { n.seen.Remove(id) }
