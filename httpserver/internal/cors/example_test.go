package cors_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/vgirpc/vgirpc-go/httpserver/internal/cors"
)

// Pages of one origin may call and read the server's capabilities.
func Example() {
	middleware, err := cors.New(cors.Options{
		Origins: []string{"https://app.example"},
		Expose:  []string{"VGI-Supported-Encodings"},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	handler := middleware(http.NotFoundHandler())

	request := httptest.NewRequest(http.MethodPost, "/Calc/add", http.NoBody)
	request.Header.Set("Origin", "https://app.example")
	response := httptest.NewRecorder()
	handler.ServeHTTP(response, request)
	fmt.Println(response.Header().Get("Access-Control-Allow-Origin"))
	fmt.Println(response.Header().Get("Cross-Origin-Resource-Policy"))
	// Output:
	// https://app.example
	// cross-origin
}
