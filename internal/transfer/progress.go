package transfer

// Progress is how far an operation is.
type Progress struct {
	Revisions Amount `json:"revisions"`
	Bytes     Amount `json:"bytes"` // of files that are moved; 0 where only rows are
}

// Amount is a number of revisions or bytes.
type Amount struct {
	Done    int64 `json:"done"`
	Skipped int64 `json:"skipped"` // it was there already
	Failed  int64 `json:"failed"`
	ToGo    int64 `json:"to_go"`
}

// Total is everything that the operation is about.
func (a Amount) Total() int64 { return a.Done + a.Skipped + a.Failed + a.ToGo }
