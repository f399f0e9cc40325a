package definition

import "testing"

func TestLRU(t *testing.T) {
	c := newLRU[string, int](2)
	c.put("a", 1)
	c.put("b", 2)
	c.get("a")
	c.put("c", 3) // b was used least recently
	for key, want := range map[string]int{"a": 1, "b": 0, "c": 3} {
		if got, ok := c.get(key); got != want || ok != (want != 0) {
			t.Errorf("%s: %d, %v", key, got, ok)
		}
	}
	c.put("a", 4)
	c.drop(func(key string) bool { return key == "c" })
	if got, _ := c.get("a"); got != 4 {
		t.Errorf("a is %d", got)
	}
	if _, ok := c.get("c"); ok || c.order.Len() != 1 {
		t.Error("c was not dropped")
	}
}
